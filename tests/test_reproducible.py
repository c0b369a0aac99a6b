"""Images of Debian packages are the same to the byte on another host and another day, for who has the lock file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_machines import ENVUP, LIMIT, Project, open_directory

from envup.images import aptsources

pytestmark = [pytest.mark.root, pytest.mark.slow]

_ELSEWHERE = """hostname far-away; umask 077; exec "$@" """
_LATER = """#!/bin/sh
export NO_FAKE_STAT=1
exec faketime -f '+40d' {tool} "$@"
"""
"""All programs of the build live 40 days later, but for the times of files, which faketime would change as well."""


def envfile() -> str:
    facts = aptsources.release()
    return (
        f"image: {{debootstrap: {{distribution: {facts['ID']}, suite: {facts['VERSION_CODENAME']}, "
        "include: [dbus, python3-minimal]}}\nprovider: chroot\nmounts: []\n"
    )


def later(directory: Path) -> Path:
    """A directory for the front of PATH."""
    tool = shutil.which("mmdebstrap")
    assert tool and shutil.which("faketime"), "the tests need mmdebstrap and faketime: `scripts/setup dev`"
    directory.mkdir()
    (directory / "mmdebstrap").write_text(_LATER.format(tool=tool))
    (directory / "mmdebstrap").chmod(0o755)
    return directory


def build_elsewhere(here: Project, there: Project, temporary: Path, programs: Path) -> str:
    """Build what `here` has locked as somebody else; the digest."""
    there.directory.mkdir(parents=True)
    for name in ("Envfile", "Envfile.lock"):
        shutil.copy(here.directory / name, there.directory / name)
    own = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "TMPDIR": str(temporary),
        "TZ": "Asia/Tokyo",
        "LANG": "tr_TR.UTF-8",
        "PYTHONHASHSEED": "7",
        "SOURCE_DATE_EPOCH": "1",
    }
    command = ["unshare", "--uts", "--", "sh", "-c", _ELSEWHERE, "sh", str(ENVUP), "images", "build", "--json"]
    done = subprocess.run(
        command,
        cwd=there.directory,
        env=there.environment | own,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    digest: str = json.loads(done.stdout.splitlines()[-1])["images"]["default"]
    return digest


@pytest.fixture(scope="module")
def here() -> Iterator[Project]:
    """A project that is locked."""
    with open_directory() as place:
        project = Project(place / "p", place / "home")
        project.write(envfile())
        project.must("lock")
        yield project


def test_the_same_lock_gives_the_same_image_on_another_host_on_another_day_in_other_directories(here: Project) -> None:
    (locked,) = json.loads(here.must("images", "--json"))["images"]
    assert locked["digest"] in (here.directory / "Envfile.lock").read_text()
    with open_directory() as place:
        there = Project(place / "deep/er/project", place / "another-home")
        (place / "tmp").mkdir()
        assert build_elsewhere(here, there, place / "tmp", later(place / "programs")) == locked["digest"]
        (archive,) = (there.home / "data/images/blobs/sha256").iterdir()
        with tarfile.open(archive) as members:
            names = set(members.getnames())
    own = {"./etc/hostname", "./etc/resolv.conf", "./var/lib/dbus/machine-id", "./var/log/dpkg.log"}
    assert names.isdisjoint(own)
    assert names >= {"./etc/apt/sources.list", "./usr/bin/dbus-daemon", "./usr/bin/python3"}


def test_a_version_that_the_mirror_does_not_have_is_named_and_nothing_is_built(here: Project) -> None:
    with open_directory() as place:
        there = Project(place / "p", place / "home")
        there.write(envfile())
        text = (here.directory / "Envfile.lock").read_text()
        (line,) = (line for line in text.splitlines() if ".package.dbus = " in line)
        (there.directory / "Envfile.lock").write_text(text.replace(line, line.partition("=")[0] + '= "0.1-2"'))
        result = there.run("up")
        assert result.returncode == 1
        assert "no longer has dbus 0.1-2\n" in result.stderr
        assert "`env lock --update debian/bookworm@" in result.stderr
        assert json.loads(there.must("images", "--json"))["images"] == []
