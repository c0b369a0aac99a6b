"""Tests with real machines: a project on disk that the installed command works on, and what its machines leave behind.

Nothing here knows a backend but `remains`, which looks at what the kernel, the directories, the Docker engine and
libvirt show.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from leftovers import engine, host, virtual
from leftovers import home as in_home

ENVUP = Path(sys.executable).with_name("envup")
LIMIT = 300
"""Seconds that any command of a test may take; virtual machines boot without acceleration."""
OTHERS = 10
"""Seconds that others have to finish what looks like something of this project."""
IS_ROOT = os.geteuid() == 0
"""Others have no way to the Docker engine and make nothing in the host's network, nor mounts that others see."""


class Project:
    """A directory with an Envfile, and a home for envup beside it. Variables of `environment` are added to this
    process's own."""

    def __init__(self, directory: Path, home: Path, environment: Mapping[str, str] | None = None) -> None:
        self.directory, self.home = directory, home
        self.before, self.made = host.Before(), time.time()
        self.environment = {**os.environ, "ENVUP_HOME": str(home), "NO_COLOR": "1", **(environment or {})}
        self.environment.pop("ENVUP_FILE", None)

    def write(self, envfile: str) -> None:
        """Replace the Envfile. `@HOME@` in it becomes the home, which marks every process of its machines."""
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "Envfile").write_text(envfile.replace("@HOME@", str(self.home)))

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command in the project."""
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        command = [str(ENVUP), *arguments]
        return subprocess.Popen(command, cwd=self.directory, env=self.environment, text=True, **options)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project to its end."""
        with self.start(*arguments) as process:
            output, errors = process.communicate(timeout=LIMIT)
        return subprocess.CompletedProcess(arguments, process.returncode, output, errors)

    def must(self, *arguments: str) -> str:
        """Standard output of a command that must succeed."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"envup {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def machines(self) -> dict[str, dict[str, Any]]:
        """What `status` says of each machine."""
        return {machine["name"]: machine for machine in json.loads(self.must("status", "--json"))["machines"]}

    @property
    def id(self) -> str:
        """The id of the environment; empty when it has none."""
        kept = self.directory / ".envup" / "environment.json"
        return str(json.loads(kept.read_text())["id"]) if kept.exists() else ""


def remains(project: Project, *, patience: float = 0) -> dict[str, list[str]]:
    """All that the machines of this project hold or have left on the host, in the Docker engine and in libvirt, images
    and logs apart, by kind; empty when there is nothing. What ends by itself within `patience` seconds is not told."""
    until = time.monotonic() + patience
    while (found := _own(project)) and time.monotonic() < until:
        time.sleep(0.05)
    return found | _shared(project)


def _own(project: Project) -> dict[str, list[str]]:
    """What only this project can have made."""
    home, environment = project.home, project.id
    found = {
        "mounts": host.mounts(home),
        "processes": host.processes(home, project.directory, environment),
        "directories": in_home.directories(home),
        "half-made images": in_home.half_made_images(home),
        "records": in_home.records(home),
        "addresses": in_home.addresses(home, environment),
        "sockets": in_home.sockets(home),
        "locks": in_home.held_locks(home),
        "control groups": host.control_groups(environment),
        "loop devices": host.loop_devices(home),
        "domains": virtual.domains(home, environment),
        "libvirt's files": virtual.files(environment),
    }
    if environment and IS_ROOT:
        for kind, names in engine.left(environment, in_home.digests(home)).items():
            found[kind] = [*found.get(kind, ()), *names]
    return {kind: names for kind, names in found.items() if names}


def _shared(project: Project) -> dict[str, list[str]]:
    """What of this project is in places where others come and go too; they are let settle."""
    if not IS_ROOT:
        return {}
    until = time.monotonic() + OTHERS
    while True:
        found = {
            "interfaces": host.interfaces(project.before, project.home, project.directory, project.id),
            "rules": host.rules(project.before, project.id),
            "namespaces": host.namespaces(project.before, project.home, project.id),
            "volumes": engine.nameless_volumes(project.made),
            "states of TPMs": sorted(virtual.nameless() - project.before.states),
        }
        if not any(found.values()) or time.monotonic() > until:
            return {kind: names for kind, names in found.items() if names}
        time.sleep(0.05)


@contextlib.contextmanager
def open_directory() -> Iterator[Path]:
    """A new directory that others may look through, as machines do that run as an account of their own: pytest's are
    closed to all but their owner. Removed at the end."""
    with tempfile.TemporaryDirectory(prefix="envup-tests-") as directory:
        path = Path(directory)
        path.chmod(0o711)
        yield path


@contextlib.contextmanager
def open_project(envfile: str, archive: Path, name: str = "project") -> Iterator[Project]:
    """A project whose Envfile has `@ARCHIVE@` replaced, in a directory of that name and with a home of its own. Its
    machines are destroyed at the end, and nothing may be left of them."""
    with open_directory() as directory:
        project = Project(directory / name, directory / "home")
        project.write(envfile.replace("@ARCHIVE@", str(archive)))
        yield project
        project.must("destroy", "--yes")
        assert remains(project) == {}


def make_small_archive(file: Path) -> Path:
    """Write a root file system archive of a few megabytes that holds busybox (of the package busybox-static); no two
    are the same, so none is disturbed by what others do with theirs."""
    busybox = shutil.which("busybox")
    assert busybox, "the tests need busybox: `scripts/setup dev` installs it"
    names = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    with tarfile.open(file, "w") as archive:
        for folder in ("bin", "etc", "root", "proc", "sys", "dev", "tmp"):
            archive.addfile(_member(folder, tarfile.DIRTYPE, 0o755))
        archive.add(busybox, "bin/busybox", filter=_owned_by_root)
        for name in names:
            if name != "busybox":
                member = _member(f"bin/{name}", tarfile.SYMTYPE, 0o777)
                member.linkname = "busybox"
                archive.addfile(member)
        texts = {"passwd": "root:x:0:0:root:/root:/bin/sh\n", "group": "root:x:0:\n", "serial": os.urandom(8).hex()}
        for name, text in texts.items():
            member = _member(f"etc/{name}", tarfile.REGTYPE, 0o644)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return file


def _member(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.mode = kind, mode
    return member


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
