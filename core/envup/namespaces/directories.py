"""A provider's machines as directories, one each, and what can be told of them from small files alone.

    machines/<environment>.<machine>/
        machine.json    facts that `create` was given; written last when it is made, removed first when it is destroyed
        run.json        the process that holds it, while there is one (see `records`)

A directory's flock is held by whoever changes the machine. One without `machine.json` that nobody holds is what an
interrupted command left: `broken`.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH110, PTH123, PTH208

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from envup.errors import EnvupError
from envup.namespaces import programs, records
from envup.provider import Instance

MACHINE = "machine.json"
COMMON = {"id", "labels", "image"}
"""Facts that every machine has."""

Look = Callable[[str, Mapping[str, Any], Mapping[str, Any] | None, str], Instance]
"""Makes an `Instance` of a machine's directory, its facts, its record if there is one, and the id of this boot."""


class Directories:
    """The machines below one data directory. `look` tells what it sees in one, `facts` are those that it needs beside
    the common ones."""

    def __init__(self, data: Path, look: Look, facts: frozenset[str] = frozenset()) -> None:
        self.root = data / "machines"
        self._root, self._look, self._needed = str(self.root), look, COMMON | facts

    def directory(self, labels: Mapping[str, str]) -> Path:
        """Where the machine with these labels lives."""
        return self.root / f"{labels['envup.environment']}.{labels['envup.machine']}"

    def all(self, environment: str | None) -> list[Path]:
        """Those of the machines of one environment, or of all, remains too."""
        return [self.root / name for name in _names(self._root) if _is_of(name, environment)]

    def observe(self, environment: str | None) -> list[Instance]:
        """Every machine of one environment, or of all. Errors: `EnvupError`."""
        try:
            boot = records.boot()
            seen = (self._observe(name, boot) for name in _names(self._root) if _is_of(name, environment))
            return [instance for instance in seen if instance is not None]
        except OSError as error:
            raise EnvupError(f"cannot read {error.filename}: {error.strerror}") from error

    def present(self, labels: Mapping[str, str]) -> Instance:
        """The machine with these labels. Errors: `EnvupError` when there is none."""
        for instance in self.observe(labels["envup.environment"]):
            if instance.machine == labels["envup.machine"]:
                return instance
        raise EnvupError(f"machine '{labels['envup.machine']}' vanished while it was worked on")

    def facts(self, directory: Path) -> dict[str, Any]:
        """What a machine was made with. Errors: `EnvupError` when that is gone or damaged."""
        facts = self._facts(str(directory))
        if facts is None:
            raise EnvupError(f"the machine in {directory} is broken", hint="run: env destroy, then env up")
        return facts

    def uses(self, digest: str) -> str | None:
        """The name of a machine made from an image, if there is one."""
        for name in _names(self._root):
            facts = read(f"{self._root}/{name}/{MACHINE}")
            if facts is not None and facts.get("image") == digest:
                owner, _, machine = name.rpartition(".")
                return f"{facts['labels'].get('envup.project', owner)}: {machine}"
        return None

    def standing(self) -> dict[str, str]:
        """Layers on which machines stand, each with the name of one that does."""
        standing: dict[str, str] = {}
        for name in _names(self._root):
            for layer in (read(f"{self._root}/{name}/{MACHINE}") or {}).get("layers", ()):
                standing[layer] = name.rpartition(".")[2]
        return standing

    def _observe(self, name: str, boot: str) -> Instance | None:
        directory = f"{self._root}/{name}"
        facts = self._facts(directory)
        if facts is None:
            return self._remains(directory, name)
        return self._look(directory, facts, read(f"{directory}/{records.FILE}"), boot)

    def _facts(self, directory: str) -> dict[str, Any] | None:
        facts = read(f"{directory}/{MACHINE}")
        return facts if facts is not None and facts.keys() >= self._needed else None

    def _remains(self, directory: str, name: str) -> Instance | None:
        """What an interrupted command left; None while somebody is at work on it or when it has just gone."""
        environment, _, machine = name.rpartition(".")
        labels = {"envup.environment": environment, "envup.machine": machine}
        try:
            with locked(Path(directory), wait=False):
                if not os.path.exists(f"{directory}/{MACHINE}"):
                    return Instance("", "broken", labels, reason="making or removing it was interrupted")
                if self._facts(directory) is None:
                    return Instance("", "broken", labels, reason=f"{directory}/{MACHINE} is damaged")
                return None
        except (BlockingIOError, FileNotFoundError):
            return None


def _is_of(name: str, environment: str | None) -> bool:
    return environment in (None, name.rpartition(".")[0])


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []


def read(path: str) -> dict[str, Any] | None:
    """A JSON object, or None where the file is missing, cut short or something else."""
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None


@contextlib.contextmanager
def held(directory: Path) -> Iterator[int]:
    """`locked` for one that must exist. Errors: `EnvupError` when the machine is gone."""
    try:
        with locked(directory) as descriptor:
            yield descriptor
    except FileNotFoundError as error:
        if directory.is_dir():
            raise
        raise EnvupError(
            f"machine '{directory.name.rpartition('.')[2]}' does not exist", hint="`env up` makes it"
        ) from error


@contextlib.contextmanager
def locked(directory: Path, *, wait: bool = True) -> Iterator[int]:
    """Hold the lock of a directory; its descriptor. Errors: `BlockingIOError` without `wait`, `FileNotFoundError`."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield descriptor
    finally:
        os.close(descriptor)


def make(directory: Path, fill: Callable[[], Mapping[str, Any]]) -> None:
    """Make a machine's directory: `fill` puts in what it needs and returns its facts; the machine counts from the
    moment that they are written. Remains of an interrupted attempt are removed first. Errors: `EnvupError` when the
    machine exists or cannot be made."""
    with told("make", directory):
        _claim(directory)
        with locked(directory):
            facts = {"id": os.urandom(16).hex(), **fill()}
            records.replace(f"{directory}/{MACHINE}", json.dumps(facts), synced=True)


@contextlib.contextmanager
def told(verb: str, directory: Path) -> Iterator[None]:
    """What the system refuses of the body is told: that one cannot `verb` the machine in a directory, and why. Errors:
    `EnvupError`."""
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        machine = directory.name.rpartition(".")[2]
        raise EnvupError(f"cannot {verb} machine '{machine}': {where}{error.strerror or error}") from error


def _claim(directory: Path) -> None:
    while True:
        try:
            directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.mkdir(mode=0o700)
        except FileExistsError:
            _remove_remains(directory)
            continue
        return


def _remove_remains(directory: Path) -> None:
    with contextlib.suppress(FileNotFoundError), locked(directory):
        if (directory / MACHINE).exists():
            raise EnvupError(f"machine '{directory.name.rpartition('.')[2]}' exists already")
        programs.remove(directory)


def unmake(directory: Path) -> None:
    """Remove a machine's directory. Cut short, what is left is `broken` and removed the next time."""
    (directory / MACHINE).unlink(missing_ok=True)
    programs.remove(directory)
