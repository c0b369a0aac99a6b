"""Where machines live on disk, and what can be told of them without asking the kernel for more than their holder.

    machines/<environment>.<machine>/
        machine.json    what `create` was given; written last when it is made, removed first when it is destroyed
        run.json        the holder, while there is one (see `records`)
        upper/ work/    the copy-on-write layers; or disk.img, an ext4 image with them; or nothing on a tmpfs
        root/ disk/     mount points, used in the holder's namespace only

A directory's flock is held by whoever changes the machine, the holder's start included. One without `machine.json`
that nobody holds is what an interrupted command left: `broken`.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH110, PTH123, PTH208

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from envup.provider import Instance, Port
from envup_chroot import records

MACHINE = "machine.json"
_FACTS = {"id", "labels", "image", "architecture", "volatile", "disk"}


class Storage:
    """The machines below one data directory."""

    def __init__(self, data: Path) -> None:
        self.machines = data / "machines"
        self._root = str(self.machines)

    def directory(self, labels: Mapping[str, str]) -> Path:
        """Where the machine with these labels lives."""
        return self.machines / f"{labels['envup.environment']}.{labels['envup.machine']}"

    def observe(self, environment: str | None) -> list[Instance]:
        """Every machine of one environment, or of all. Files of /proc and two small ones a machine are read, no
        more."""
        boot = records.boot()
        found = []
        for name in _names(self._root):
            owner, _, machine = name.rpartition(".")
            if environment in (None, owner):
                instance = _observe(f"{self._root}/{name}", owner, machine, boot)
                if instance is not None:
                    found.append(instance)
        return found

    def uses(self, digest: str) -> str | None:
        """The name of a machine made from an image, if there is one."""
        for name in _names(self._root):
            facts = read(f"{self._root}/{name}/{MACHINE}")
            if facts is not None and facts.get("image") == digest:
                owner, _, machine = name.rpartition(".")
                return f"{facts['labels'].get('envup.project', owner)}: {machine}"
        return None


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


def _observe(directory: str, environment: str, machine: str, boot: str) -> Instance | None:
    facts = read(f"{directory}/{MACHINE}")
    if facts is None or not facts.keys() >= _FACTS:
        return _remains(directory, environment, machine)
    run = read(f"{directory}/{records.FILE}")
    identity, volatile = facts["id"], facts["volatile"]
    if run is None:
        return Instance(identity, "created", facts["labels"], volatile=volatile)
    if volatile:
        identity = run["id"]
    if not run["ready"] or not is_alive(run, boot):
        return Instance(identity, "stopped", facts["labels"], volatile=volatile)
    ports = tuple(Port(number, number, None, protocol) for number, protocol in run["ports"])
    return Instance(identity, "running", facts["labels"], ports=ports, volatile=volatile)


def _remains(directory: str, environment: str, machine: str) -> Instance | None:
    """What an interrupted command left; None while somebody is at work on it or when it has just gone."""
    labels = {"envup.environment": environment, "envup.machine": machine}
    try:
        with locked(Path(directory), wait=False):
            if not os.path.exists(f"{directory}/{MACHINE}"):
                return Instance("", "broken", labels, reason="making or removing it was interrupted")
            facts = read(f"{directory}/{MACHINE}")
            if facts is None or not facts.keys() >= _FACTS:
                return Instance("", "broken", labels, reason=f"{directory}/{MACHINE} is damaged")
            return None
    except (BlockingIOError, FileNotFoundError):
        return None


def is_alive(run: Mapping[str, Any], boot: str) -> bool:
    """Whether the holder that a record names lives."""
    return bool(run["boot"] == boot and records.start_time(run["pid"]) == run["start"])


@contextlib.contextmanager
def locked(directory: Path, *, wait: bool = True) -> Iterator[int]:
    """Hold the lock of a directory; its descriptor. Errors: `BlockingIOError` without `wait`, `FileNotFoundError`."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield descriptor
    finally:
        os.close(descriptor)
