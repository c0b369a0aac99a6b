"""Limits of a machine by control groups, version 1, 2 or both, where this user may make them.

Each machine with a limit has a group `envup/<environment>-<machine>` in the hierarchy of each controller that it
needs: below the hierarchy's root for root, below the topmost group that was delegated to the user otherwise. Files
and values are those of the kernel's Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from envup.errors import EnvupError
from envup.namespaces import hierarchies
from envup.provider import Resources

DELEGATE = "run as root, or where systemd uses cgroup version 2: systemd-run --user --scope -p Delegate=yes env up"
"""What an ordinary user does to have groups of his own."""

_PERIOD = 100_000
"""Microseconds over which the share of cpu time is counted."""
_PATIENCE = 30.0
"""Seconds that the processes of a group have to end once they are killed."""


class Place:
    """Where groups for a controller can be made."""

    __slots__ = ("base", "version")

    def __init__(self, base: Path, version: int) -> None:
        self.base = base
        self.version = version


def needed(resources: Resources) -> list[str]:
    """The controllers that limits need, by name."""
    limits = {"cpu": resources.cpus, "memory": resources.memory, "pids": resources.pids}
    return [controller for controller, limit in limits.items() if limit is not None]


def places(*, rootless: bool) -> Mapping[str, Place]:
    """Where this user can make groups, by controller. Reads mounts and files, changes nothing."""
    own = Path("/proc/self/cgroup").read_text(encoding="utf-8", errors="surrogateescape")
    found: dict[str, Place] = {}
    for point, kind, options in mounted():
        if kind == "cgroup2":
            base = _delegated(point, own) if rootless else point
            if base is not None:
                found |= {name: Place(base, 2) for name in _read(base / "cgroup.controllers").split()}
        elif not rootless:
            found |= {name: Place(point, 1) for name in options if name in ("cpu", "memory", "pids")}
    return found


def missing(controller: str, *, rootless: bool) -> tuple[str, str]:
    """What to say of a controller that `places` does not have, and what to do."""
    if rootless:
        why = "is not delegated to this user"
        remedy = DELEGATE
    else:
        why, remedy = "is not mounted", "mount it, or leave the limit out"
    return f"the cgroup controller '{controller}' {why}", remedy


def unified(*, rootless: bool) -> Path | None:
    """Where this user can make groups of version 2, which all have a freezer; None where he cannot."""
    own = Path("/proc/self/cgroup").read_text(encoding="utf-8", errors="surrogateescape")
    points = [point for point, kind, _options in mounted() if kind == "cgroup2"]
    return next((base for point in points if (base := _delegated(point, own) if rootless else point)), None)


def mounted() -> Iterable[tuple[Path, str, list[str]]]:
    """See `hierarchies.mounted`."""
    return [(Path(point), kind, options) for point, kind, options in hierarchies.mounted()]


def _delegated(root: Path, own: str) -> Path | None:
    """The topmost group on the way to this process's own that the user may fill, after cgroup-v2.rst, Delegation."""
    path = next((line[3:] for line in own.splitlines() if line.startswith("0::")), "/")
    way = [root, *(root.joinpath(*Path(path).parts[1 : end + 1]) for end in range(1, len(Path(path).parts)))]
    for group in way:
        files = ("", "cgroup.procs", "cgroup.subtree_control")
        if group != root and all(os.access(group / name, os.W_OK) for name in files):
            return group
    return None


def make(name: str, resources: Resources, *, rootless: bool) -> list[Path]:
    """Make the groups of a machine, or find them, and set its limits. Errors: `EnvupError`; then those that were found
    stay, with what runs in them, and those that were made go."""
    known = places(rootless=rootless)
    for controller in needed(resources):
        if controller not in known:
            why, remedy = missing(controller, rootless=rootless)
            raise EnvupError(f"cannot limit the machine: {why}", hint=remedy)
    groups: dict[Path, None] = {}
    made: list[str] = []
    controller = ""
    try:
        for controller in needed(resources):
            place = known[controller]
            group = place.base / "envup" / name
            if not group.is_dir():
                made.append(str(group))
            _make_group(place, group, controller)
            groups[group] = None
            _limit(group, place.version, controller, resources)
    except OSError as error:
        remove(made)
        raise EnvupError(
            f"cannot limit the machine: {error.filename or controller}: {error.strerror}",
            hint="a limit below what the machine uses now cannot be set" if error.errno == errno.EBUSY else "",
        ) from error
    return list(groups)


def made(group: Path) -> Path:
    """A group of a machine, which is made, with the one above it, where it is missing. Errors: `OSError`."""
    while not group.is_dir():
        with contextlib.suppress(FileNotFoundError):  # somebody removed the empty parent just now
            group.parent.mkdir(exist_ok=True)
            group.mkdir()
    return group


def _make_group(place: Place, group: Path, controller: str) -> None:
    made(group)
    if place.version == 2:
        for parent in (place.base, group.parent):
            control = parent / "cgroup.subtree_control"
            if controller not in _read(control).split():
                _write(control, f"+{controller}")


def relax(groups: Iterable[str], resources: Resources) -> None:
    """Lift the limits that `resources` no longer has from groups that exist."""
    for group in map(Path, groups):
        for controller in {"cpu", "memory", "pids"} - set(needed(resources)):
            version = 2 if (group / "cgroup.controllers").exists() else 1
            if (group / _probe_file(controller, version)).exists():
                _limit(group, version, controller, resources)


def _probe_file(controller: str, version: int) -> str:
    first = {"cpu": "cpu.cfs_quota_us", "memory": "memory.limit_in_bytes", "pids": "pids.max"}
    return first[controller] if version == 1 else f"{controller}.max"


def _limit(group: Path, version: int, controller: str, resources: Resources) -> None:
    if controller == "pids":
        _write(group / "pids.max", "max" if resources.pids is None else str(resources.pids))
    elif controller == "cpu":
        quota = None if resources.cpus is None else max(1000, int(resources.cpus * _PERIOD))
        if version == 2:
            _write(group / "cpu.max", f"{quota or 'max'} {_PERIOD}")
        else:
            _write(group / "cpu.cfs_period_us", str(_PERIOD))
            _write(group / "cpu.cfs_quota_us", str(quota or -1))
    elif version == 2:
        _write(group / "memory.max", str(resources.memory or "max"))
        if (group / "memory.swap.max").exists():
            _write(group / "memory.swap.max", "max" if resources.memory is None else "0")
    else:
        _limit_memory(group, resources.memory)


def _limit_memory(group: Path, memory: int | None) -> None:
    """Version 1: memory with swap is never less than memory, so the order of the two files depends on the direction."""
    files = [group / "memory.limit_in_bytes", group / "memory.memsw.limit_in_bytes"]
    if not files[1].exists():
        files.pop()
    elif memory is None or memory > int(_read(files[1])):
        files.reverse()
    for file in files:
        _write(file, str(memory or -1))


def attach(groups: Iterable[str], processes: Iterable[int]) -> None:
    """Move processes into the groups; those that ended meanwhile are no error."""
    for group in groups:
        for process in processes:
            try:
                _write(Path(group) / "cgroup.procs", str(process))
            except ProcessLookupError:
                continue
            except OSError as error:
                raise EnvupError(f"cannot move process {process} into {group}: {error.strerror}") from error


def remove(groups: Iterable[str]) -> None:
    """Remove groups, those that are below them, and the `envup` above them when it is empty; missing ones are no error.
    What still runs in one is killed."""
    for group in map(Path, groups):
        for directory, _names, _files in os.walk(group, topdown=False):
            _remove_one(Path(directory))
        with contextlib.suppress(OSError):
            group.parent.rmdir()  # fails while other machines have groups there


def _remove_one(group: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or not _kill(group, deadline):
                raise EnvupError(f"cannot remove the control group {group}: {error.strerror}") from error
        else:
            return


def groups_of(name: str, *, rootless: bool) -> list[str]:
    """The groups of a machine that exist, its record being lost or not."""
    known = {str(place.base / "envup" / name) for place in places(rootless=rootless).values()}
    return [group for group in known if Path(group).is_dir()]


def _kill(group: Path, deadline: float) -> bool:
    """Kill what is in a group and wait for its end; False when nothing is. Errors: `EnvupError` at the deadline."""
    import select
    import signal

    processes = _read(group / "cgroup.procs").split()
    for process in map(int, processes):
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(process)
            try:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                ended = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]
            finally:
                os.close(descriptor)
            if not ended:
                raise EnvupError(
                    f"process {process} in the control group {group} does not end",
                    hint="`ps` shows it in state D: it waits for a device, or for a freezer to let it go",
                )
    return bool(processes)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except FileNotFoundError:
        return ""


def _write(path: Path, value: str) -> None:
    with path.open("w", encoding="ascii") as file:
        try:
            file.write(value)
            file.flush()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
