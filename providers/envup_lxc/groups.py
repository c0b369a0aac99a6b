"""The control groups that LXC makes for a machine, `envup/NAME` in each hierarchy, and the freezer among them.

The machine itself is in `envup/NAME/lxc/ns`; limits are set at the top, where it cannot change them. LXC makes `lxc`
anew when a machine restarts itself, and leaves what is above. Those of the monitor are `envup/NAME.monitor` and
`.pivot`. LXC makes them for root alone.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH110, PTH112, PTH123

from __future__ import annotations

import os
import select
from collections.abc import Sequence

from envup.errors import EnvupError
from envup.namespaces import cgroups

_SUFFIXES = ("", ".monitor", ".pivot")


def can_freeze(*, rootless: bool) -> bool:
    """Whether machines of this user can be given a freezer."""
    if cgroups.unified(rootless=rootless) is not None:
        return True
    return not rootless and any("freezer" in options for _point, _kind, options in cgroups.mounted())


def joined(name: str, *, rootless: bool) -> list[str]:
    """The groups of a running machine with limits and the one with the freezer, where programs that enter it go. LXC
    has made root's; an ordinary user's is made here, where one is delegated to him."""
    if rootless:
        base = cgroups.unified(rootless=True)
        return [] if base is None else [str(cgroups.made(base / "envup" / name))]
    wanted = {"cpu", "memory", "pids", "freezer"}
    places = (point for point, kind, options in cgroups.mounted() if kind == "cgroup2" or wanted & {*options})
    found = [f"{point}/envup/{name}" for point in places]
    return [group for group in found if os.path.isdir(group)]


def freezer(joined: Sequence[str]) -> str:
    """The file that freezes a machine of these groups; empty where none does. Version 2 before version 1."""
    files = [f"{group}/{name}" for name in ("cgroup.freeze", "freezer.state") for group in joined]
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


def remove(name: str, *, rootless: bool) -> None:
    """Remove every group of a machine that does not run: what LXC did not. Errors: `EnvupError`."""
    if rootless:
        base = cgroups.unified(rootless=True)
        places = [f"{base}/envup/{name}"] if base is not None else []
    else:
        places = [
            f"{point}/envup/{name}{suffix}" for point, _kind, _options in cgroups.mounted() for suffix in _SUFFIXES
        ]
    cgroups.remove(places)
