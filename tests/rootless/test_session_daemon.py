"""libvirt's daemon of an ordinary account ends and is started again: machines live on, and what was begun is gone on
with."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from pathlib import Path

import pytest
from ordinary import LIMIT, Account, Project

from envup.testing import images

pytestmark = [pytest.mark.rootless, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def project(account: Account, place: Path) -> Project:
    own = Account(account.name, place, place / "s")  # libvirt makes sockets below it
    return own.project("session", f"image: {{tarball: {images.built()}}}\nprovider: kvm\nkvm: {{acceleration: tcg}}\n")


def end_daemon(account: Account) -> bool:
    """Whether there was one; it has ended."""
    for line in account.processes(libvirtd=True):
        number = int(line.partition(":")[0])
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            if Path(f"/proc/{number}/comm").read_text().strip() == "libvirtd":
                ended = os.pidfd_open(number)
                signal.pidfd_send_signal(ended, signal.SIGTERM)
                assert select.select([ended], [], [], LIMIT)[0]
                os.close(ended)
                return True
    return False


def test_a_machine_lives_on_when_the_daemon_is_started_again_also_while_it_is_made(project: Project) -> None:
    try:
        with project.start("up", "--yes", "--json") as up:
            assert up.stdout
            started = (line for line in up.stdout if '"started"' in line and "default/start" in line)
            assert next(started)
            while up.poll() is None and not end_daemon(project.account):
                select.select([], [], [], 0.05)
            output, errors = up.communicate(timeout=LIMIT)
        assert up.returncode in (0, 1), (output, errors)
        assert "bug" not in errors, errors
        project.must("up", "--yes")
        project.must("exec", "--", "touch", "/srv/mark")
        assert end_daemon(project.account)
        assert "running" in project.must("status")
        assert project.must("exec", "--", "ls", "/srv") == "mark\n"
    finally:
        project.must("destroy", "--yes")
