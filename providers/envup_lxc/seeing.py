"""What is seen of an LXC machine in its directory.

Beside what `envup.namespaces.directories` keeps there:

    upper/ work/    the copy-on-write layers; or disk.img, an ext4 image with them; or root/, a copy of the image
    config lxc.log console.log start.log    LXC's
    states notify   how LXC and systemd tell a command that starts the machine how far it is

`run.json` names PID 1 and its monitor, lxc-start(1). A machine that restarts itself gets another PID 1 of the same
monitor.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH123

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envup.namespaces import records
from envup.provider import Instance
from envup.value import replace
from envup_lxc import groups

FACTS = frozenset(("disk",))
_OUT_OF_REACH = ("private", "none")
"""Networks that the host is not in."""


def completed(instance: Instance, run: Mapping[str, Any] | None) -> Instance:
    """A machine with what is LXC's own: that it may be frozen, and its address where the host reaches that."""
    if run is None or instance.state != "running":
        return instance
    state = "suspended" if groups.is_frozen(run["freezer"]) else "running"
    addresses = () if run["network"] in _OUT_OF_REACH else (run["address"],)
    return replace(instance, state=state, addresses=addresses)


def current(run: Mapping[str, Any], boot: str) -> Mapping[str, Any] | None:
    """The record with the PID 1 of now; None when the machine does not run."""
    if run["boot"] != boot:
        return None
    if records.lives(run["pid"], run["start"]):
        return run
    if not is_monitored(run, boot):
        return None
    child = child_of(run["monitor"])
    start = records.start_time(child) if child else None
    return {**run, "pid": child, "start": start} if start else None


def is_monitored(run: Mapping[str, Any], boot: str) -> bool:
    """Whether the monitor of a record lives, with a PID 1 or without."""
    return bool(run["boot"] == boot and records.lives(run["monitor"], run["monitor_start"]))


def child_of(monitor: int) -> int | None:
    """PID 1 of a monitor's machine: its only child (proc_pid_task_children(5))."""
    try:
        with open(f"/proc/{monitor}/task/{monitor}/children", "rb") as file:
            children = file.read().split()
    except OSError:
        return None
    return int(children[0]) if children else None
