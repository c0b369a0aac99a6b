"""What machines leave on a host when they are not taken away wholly: mounts, control groups, loop devices, network
interfaces, processes."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

LONG = f"4711.{os.getpid()}"
"""Seconds; how long no other program of this host sleeps."""

Traces = dict[str, list[str]]


def traces(mark: str, environment: str) -> Traces:
    """What there is on this host of machines below a directory with `mark` in its name, or of environments whose name
    begins with `environment`."""
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if mark in line]
    named = re.compile(rf"{re.escape(environment)}(?!\d)")  # no other run's, whose number begins alike
    walked = os.walk("/sys/fs/cgroup")  # takes groups that vanish meanwhile for empty, which glob does not
    groups = sorted(f"{top}/{name}" for top, names, _files in walked for name in names if named.search(name))
    backing = [path.read_text() for path in Path("/sys/block").glob("loop*/loop/backing_file")]
    return {"mounts": mounts, "groups": groups, "loops": [path for path in backing if mark in path]}


def interfaces() -> set[str]:
    """The network interfaces of this host."""
    return {path.name for path in Path("/sys/class/net").iterdir()}


def processes_with(mark: str) -> list[str]:
    """Command lines of the host's processes that have `mark` in it or in their environment."""
    return [line for _process, line in _marked(mark)]


def process_with(mark: str) -> int:
    """The one process of this host that has `mark` in its command line or environment; its user may be another."""
    ((process, _line),) = _marked(mark)
    return process


def first_process(member: int) -> int:
    """PID 1 of the PID namespace that a process of this host is in, as the host numbers it."""
    namespace = Path(f"/proc/{member}/ns/pid").stat().st_ino
    for process in _processes():
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{process}/status").read_text()
            numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()
            if numbers[-1] == "1" and Path(f"/proc/{process}/ns/pid").stat().st_ino == namespace:
                return process
    raise LookupError(f"process {member} is in a PID namespace whose first process is not to be seen")


def _marked(mark: str) -> list[tuple[int, str]]:
    found = []
    for process in _processes():
        line, variables = (_read(process, file) for file in ("cmdline", "environ"))
        if mark.encode() in line + variables:
            found.append((process, line.replace(b"\0", b" ").decode(errors="replace")))
    return found


def _read(process: int, file: str) -> bytes:
    """Nothing where the process is gone, or another user's."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/{file}").read_bytes()
    return b""


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
