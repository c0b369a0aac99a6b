"""An ordinary account, what it runs and what runs of it; and its projects."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import readable

TESTS = Path(__file__).parents[1]
PROGRAM = "import sys; from envup.shim import main; sys.argv[0] = 'envup'; sys.exit(main())"
LIMIT = 120
"""Seconds that any command may take."""


class Account:
    """An ordinary account as it is after a login: no session directory, no variables but the plain ones."""

    def __init__(self, name: str, place: Path, home: Path, groups: Sequence[str] = ()) -> None:
        self.name, self.place, self.home, self.groups = name, place, home, groups
        self.entry = pwd.getpwnam(name)
        self.interpreter = readable.interpreter(name)
        self.environment = {"HOME": str(home), "PATH": os.defpath, "USER": name, "LOGNAME": name}
        home.mkdir(mode=0o700)
        os.chown(home, self.entry.pw_uid, self.entry.pw_gid)

    def project(self, name: str, envfile: str, files: Mapping[str, str] | None = None) -> Project:
        """A new directory in the account's home with an Envfile and other files."""
        directory = self.home / name
        paths = {directory / file: text for file, text in {"Envfile": envfile, **(files or {})}.items()}
        for path, text in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755 if path.suffix == ".sh" else 0o644)
        for path in (directory, *directory.rglob("*")):
            os.chown(path, self.entry.pw_uid, self.entry.pw_gid)
        return Project(self, directory)

    def start(self, *argv: str, directory: Path | None = None, **options: Any) -> subprocess.Popen[str]:
        """Start a program as this account."""
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        settings = {**streams, "cwd": directory or self.home, "env": self.environment, **options}
        who = {"user": self.entry.pw_uid, "group": self.entry.pw_gid, "extra_groups": self.groups}
        return subprocess.Popen(argv, text=True, **who, **settings)

    def processes(self, *, libvirtd: bool = False) -> list[str]:
        """Everything of this account that runs, its machines included: all of it names the place. libvirt's own daemon,
        which ends by itself two minutes after it was last asked, only where it is asked for."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                line = (process / "cmdline").read_bytes()
                told = line + (process / "environ").read_bytes()
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            if not libvirtd and line.startswith(b"/usr/sbin/libvirtd\0--timeout="):
                continue
            if os.fsencode(self.home) in told and int(process.name) != os.getpid():
                found.append(f"{process.name}: {told[:200]!r}")
        return found


class Project:
    """A project of an account."""

    def __init__(self, account: Account, directory: Path) -> None:
        self.account, self.directory = account, directory

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start envup in this project."""
        environment = {**self.account.environment, "PYTHONPATH": str(self.account.place / "packages")}
        settings = {"env": environment | options.pop("variables", {}), **options}
        return self.account.start(*self.command(*arguments), directory=self.directory, **settings)

    def command(self, *arguments: str) -> list[str]:
        """The line that runs envup."""
        return [self.account.interpreter, "-c", PROGRAM, *arguments]

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run envup in this project to its end."""
        with self.start(*arguments, **options) as process:
            output, errors = process.communicate(timeout=LIMIT)
        return subprocess.CompletedProcess(arguments, process.returncode, output, errors)

    def must(self, *arguments: str) -> str:
        """Standard output of a command that must succeed."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout
