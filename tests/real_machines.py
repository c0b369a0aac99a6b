"""Tests with real machines: a project on disk that the installed command works on, and what its machines leave behind.

Nothing here knows a backend but `remains`, which looks at what the kernel and the directories show.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ENVUP = Path(sys.executable).with_name("envup")
LIMIT = 120
"""Seconds that any command of a test may take."""


class Project:
    """A directory with an Envfile, and a home for envup beside it. Variables of `environment` are added to this
    process's own."""

    def __init__(self, directory: Path, home: Path, environment: Mapping[str, str] | None = None) -> None:
        self.directory, self.home = directory, home
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


def remains(project: Project) -> dict[str, list[str]]:
    """All that the machines of this project hold or have left on the host, images and logs apart, by kind; empty when
    there is nothing."""
    found = {
        "mounts": _mounts(project.home),
        "processes": _processes(project.home),
        "directories": _directories(project.home),
        "half-made images": _half_made_images(project.home),
        "records": _records(project.home),
        "control groups": _control_groups(project.id),
        "loop devices": _loop_devices(project.home),
    }
    return {kind: names for kind, names in found.items() if names}


def _mounts(home: Path) -> list[str]:
    return [line for line in Path("/proc/self/mounts").read_text().splitlines() if f"{home}/" in line]


def _processes(home: Path) -> list[str]:
    """Processes whose command line or variables name the home, this one and its parents apart."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if os.fsencode(home) in told and int(process.name) != os.getpid():
            found.append(f"{process.name}: {told[:200]!r}")
    return found


def _directories(home: Path) -> list[str]:
    return [str(path) for path in home.glob("data/providers/*/machines/*")]


def _half_made_images(home: Path) -> list[str]:
    work = [path for path in home.glob("data/images/work/*") if path.name != "guard"]
    trees = [path for path in home.glob("data/providers/*/images/.*") if path.suffix != ".lock"]
    return [str(path) for path in (*work, *trees)]


def _records(home: Path) -> list[str]:
    file = home / "data/state.db"
    if not file.exists():
        return []
    with sqlite3.connect(file) as database:
        if not database.execute("SELECT 1 FROM sqlite_master").fetchone():
            return []
        rows = [f"machine {row}" for row in database.execute("SELECT * FROM machine")]
        rows += [f"step {row}" for row in database.execute("SELECT * FROM step")]
        rows += [f"open {row}" for row in database.execute("SELECT * FROM journal WHERE ended IS NULL")]
    database.close()
    return rows


def _control_groups(environment: str) -> list[str]:
    if not environment:
        return []
    return [folder for folder, _, _ in os.walk("/sys/fs/cgroup") if environment in folder]


def _loop_devices(home: Path) -> list[str]:
    found = []
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            told = path.read_text().strip()
        except OSError:
            continue
        if str(home) in told:
            found.append(told)
    return found


def make_small_archive(file: Path) -> Path:
    """Write a root file system archive of a few megabytes that holds busybox (of the package busybox-static)."""
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
        for name, text in (("passwd", "root:x:0:0:root:/root:/bin/sh\n"), ("group", "root:x:0:\n")):
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
