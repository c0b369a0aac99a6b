"""Snapshots as they lie on a machine's disks, and what is kept beside them to go back.

    machines/<environment>.<machine>/snapshots/<name>.json      written when all of it is there

Each of the disks has one of its own, inside the qcow2 file, that of the first disk with the memory.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from envup.errors import EnvupError
from envup.namespaces import directories, programs, records
from envup.provider import Snapshot
from envup.value import Value

_DIRECTORY = "snapshots"


class Kept(Value):
    """One with its files. `disks` are names in the machine's directory. With memory, `description` is the snapshot's,
    the machine's as it ran in it, for libvirt; `facts` what it was told, see `places.told`, `hypervisor` and
    `processor` what ran it. `booted`: the machine had been started before."""

    name: str
    created: float
    disks: tuple[str, ...]
    booted: bool
    description: str = ""
    facts: tuple[int, str] = (0, "")
    hypervisor: str = ""
    processor: str = ""

    @property
    def snapshot(self) -> Snapshot:
        """As the contract has it."""
        return Snapshot(self.name, self.created, memory=bool(self.description))


def inside(name: str) -> str:
    """What a snapshot is called in a disk, where a number could be mistaken for qemu-img's own."""
    return f"envup.{name}"


def write(directory: Path, kept: Kept) -> None:
    """Keep it; from now on it is one. Errors: `OSError`."""
    (directory / _DIRECTORY).mkdir(mode=0o700, exist_ok=True)
    fields = {field: getattr(kept, field) for field in Kept.__match_args__}
    records.replace(str(_path(directory, kept.name)), json.dumps(fields), synced=True)


def forget(directory: Path, name: str) -> None:
    """It is none any more."""
    _path(directory, name).unlink(missing_ok=True)


def find(directory: Path, name: str) -> Kept | None:
    """The one of that name that is whole. Errors: `EnvupError`."""
    return next((kept for kept in every(directory) if kept.name == name), None)


def require(directory: Path, name: str, machine: str) -> Kept:
    """`find` for one that must exist. Errors: `EnvupError`."""
    if (kept := find(directory, name)) is None:
        raise EnvupError(f"machine '{machine}' has no snapshot '{name}'", hint="`env snapshot list` tells them")
    return kept


def every(directory: Path) -> list[Kept]:
    """Those that are whole: on all of their disks, the oldest first. Errors: `EnvupError`."""
    kept = sorted(_noted(directory), key=lambda one: one.created)
    there = {disk: names(directory / disk) for disk in {disk for one in kept for disk in one.disks}}
    return [one for one in kept if all(inside(one.name) in there[disk] for disk in one.disks)]


def disks(directory: Path) -> tuple[str, ...]:
    """The machine's own disks, its root first."""
    return ("disk.qcow2", *sorted(path.name for path in directory.glob("disk-*.qcow2")))


def names(disk: Path) -> set[str]:
    """Snapshots inside a disk, which may be in use; of one that is gone, none. Errors: `EnvupError`."""
    line = ("qemu-img", "info", "--force-share", "-f", "qcow2", "--output=json", str(disk))
    try:
        done = subprocess.run(line, check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        if not disk.exists():
            return set()
        raise EnvupError(f"the snapshots of {disk} cannot be read", details=error.stderr.strip()) from error
    return {one["name"] for one in json.loads(done.stdout).get("snapshots", ())}


def apply(directory: Path, option: str, name: str, only: tuple[str, ...]) -> None:
    """Have qemu-img take (`-c`), go back to (`-a`) or delete (`-d`) one on disks that nobody uses. Errors:
    `EnvupError`."""
    for disk in only:
        line = ("qemu-img", "snapshot", "-q", option, inside(name), str(directory / disk))
        programs.run(line, f"qemu-img cannot work on snapshot '{name}'")


def _path(directory: Path, name: str) -> Path:
    return directory / _DIRECTORY / f"{name}.json"


def _noted(directory: Path) -> Iterator[Kept]:
    for path in (directory / _DIRECTORY).glob("*.json"):
        fields: dict[str, Any] | None = directories.read(str(path))
        if fields is not None:
            yield Kept(**{**fields, "disks": tuple(fields["disks"]), "facts": tuple(fields["facts"])})
