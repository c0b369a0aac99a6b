"""The control groups that LXC makes for a machine, `envup/NAME` in each hierarchy, and the freezer among them.

The machine itself is in `envup/NAME/ns`; limits are set one above, where it cannot change them. Those of the monitor
are `envup/NAME.monitor` and `.pivot`.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH110, PTH123

from __future__ import annotations

import os
import select
from collections.abc import Iterator

from envup.errors import EnvupError

_SUFFIXES = ("", ".monitor", ".pivot")


def hierarchies() -> Iterator[tuple[str, str, set[str]]]:
    """(mount point, type, options) of each mounted hierarchy, after proc_pid_mountinfo(5)."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            left, _separator, right = line.partition(" - ")
            kind, _source, options = right.rstrip().split(" ", 2)
            if kind in ("cgroup", "cgroup2"):
                yield left.split()[4], kind, set(options.split(","))


def joined(name: str) -> list[str]:
    """Of a running machine: the groups with limits and the one with the freezer, where programs that enter it go."""
    wanted = {"cpu", "memory", "pids"}
    found = [f"{point}/envup/{name}" for point, kind, options in hierarchies() if kind == "cgroup2" or wanted & options]
    found.append(freezer(name).rpartition("/")[0])
    return [group for group in dict.fromkeys(found) if os.path.isdir(group)]


def freezer(name: str) -> str:
    """The file that freezes a running machine; empty where it has none. Version 2 before version 1."""
    found = sorted(hierarchies(), key=lambda hierarchy: hierarchy[1], reverse=True)
    files = [
        f"{point}/envup/{name}/{'cgroup.freeze' if kind == 'cgroup2' else 'freezer.state'}"
        for point, kind, _options in found
    ]
    return next((file for file in files if os.path.exists(file)), "")


def is_frozen(file: str) -> bool:
    """Whether `freezer` says that a machine is."""
    if not file:
        return False
    try:
        with open(file, "rb") as stream:
            return stream.read().strip() in (b"1", b"FROZEN", b"FREEZING")
    except FileNotFoundError:
        return False


def freeze(file: str, *, frozen: bool) -> None:
    """Freeze or thaw, and wait until it is so. Errors: `EnvupError`."""
    try:
        if file.endswith("cgroup.freeze"):
            _write(file, "1" if frozen else "0")
            _await_events(file.removesuffix("freeze") + "events", b"frozen 1" if frozen else b"frozen 0")
        else:
            _write(file, "FROZEN" if frozen else "THAWED")
            _await_state(file, b"FROZEN" if frozen else b"THAWED")
    except OSError as error:
        verb = "suspend" if frozen else "resume"
        raise EnvupError(f"cannot {verb} the machine: {error.strerror or error}", details=file) from error


_LONGEST = 30.0
"""Seconds until a freezer is given up; programs in uninterruptible sleep cannot be frozen."""


def _write(file: str, text: str) -> None:
    with open(file, "w", encoding="ascii") as stream:
        stream.write(text)


def _await_events(file: str, line: bytes) -> None:
    """The kernel wakes who polls the file when it changes (cgroup-v2.rst, cgroup.events)."""
    poll = select.poll()
    with open(file, "rb", buffering=0) as stream:
        poll.register(stream, select.POLLPRI)
        while line not in stream.read().splitlines():
            if not poll.poll(_LONGEST * 1000):
                raise TimeoutError(f"it did not follow within {_LONGEST:.0f} s")
            stream.seek(0)


def _await_state(file: str, state: bytes) -> None:
    """Version 1 wakes nobody; to read the state brings it up to date (cgroup-v1/freezer-subsystem.rst)."""
    for _attempt in range(int(_LONGEST * 100)):
        with open(file, "rb") as stream:
            if stream.read().strip() == state:
                return
        select.select([], [], [], 0.01)
    raise TimeoutError(f"it did not follow within {_LONGEST:.0f} s")


def remove(name: str) -> None:
    """Remove every group of a machine that does not run; what LXC did not. Errors: `EnvupError`."""
    from envup.namespaces import cgroups

    cgroups.remove(f"{point}/envup/{name}{suffix}" for point, _kind, _options in hierarchies() for suffix in _SUFFIXES)
