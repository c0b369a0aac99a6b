"""All files of a machine leave it as an image."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Iterator

import pytest

from envup.provider import Export, Instance
from envup.testing.subject import Subject


@pytest.fixture(scope="module")
def filled(subject: Subject) -> Iterator[Instance]:
    """A machine with files of its own."""
    subject.needs(Export)
    with subject.running(subject.spec("filled")) as instance:
        change = "echo content > /srv/file; ln /srv/file /srv/hard; chown 12:34 /srv/file; rm -f /etc/issue"
        subject.shell(instance, change)
        yield instance


def exported(subject: Subject, instance: Instance) -> dict[str, tarfile.TarInfo]:
    """The members by their plain names."""
    with tempfile.TemporaryFile() as file:
        subject.provider.export(instance, file)
        file.seek(0)
        with tarfile.open(fileobj=file) as archive:
            return {member.name.removeprefix("./"): member for member in archive}


def require_whole(members: dict[str, tarfile.TarInfo]) -> None:
    file, hard = sorted((members["srv/file"], members["srv/hard"]), key=lambda member: member.islnk())
    assert (file.uid, file.gid, file.size) == (12, 34, len("content\n"))
    assert hard.islnk()
    assert hard.linkname.removeprefix("./") == file.name.removeprefix("./")
    assert "etc/issue" not in members
    assert "etc/passwd" in members
    assert not any(name.startswith("proc/") and name.endswith("/status") for name in members)


def test_a_running_machine_leaves_whole_and_goes_on(subject: Subject, filled: Instance) -> None:
    require_whole(exported(subject, filled))
    assert subject.state("filled") == "running"
    assert subject.shell(filled, "cat /srv/file") == "content"


def test_a_stopped_machine_leaves_whole(subject: Subject, filled: Instance) -> None:
    subject.provider.stop(filled, grace=1)
    require_whole(exported(subject, filled))
    assert subject.state("filled") == "stopped"
