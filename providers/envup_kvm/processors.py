"""Processors that were plugged into a machine: its kernel uses none until it is told.

Files are those of the kernel's Documentation/admin-guide/cputopology.rst and core-api/cpu_hotplug.rst.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH123

from __future__ import annotations

import select
import socket
import time

_PLACE = "/sys/devices/system/cpu"
_SECONDS = 30
"""In which the kernel finds what was plugged in."""
_EVENTS = 15
"""NETLINK_KOBJECT_UEVENT of linux/netlink.h."""


def use(count: int) -> int:
    """Wait until there are `count`, and use all; how many that are. Errors: `OSError`, `TimeoutError` among them."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _EVENTS) as events:
        events.bind((0, 1))
        limit = time.monotonic() + _SECONDS
        while len(_listed("present")) < count:
            if not select.select([events], [], [], max(0.0, limit - time.monotonic()))[0]:
                raise TimeoutError("the kernel of the machine does not find its new processors")
            events.recv(1 << 16)
    for number in _listed("present") - _listed("online"):
        with open(f"{_PLACE}/cpu{number}/online", "w", encoding="ascii") as file:
            file.write("1")
    return len(_listed("online"))


def _listed(name: str) -> set[int]:
    """The numbers in a list such as 0-2,4."""
    with open(f"{_PLACE}/{name}", encoding="ascii") as file:
        parts = [part.partition("-") for part in file.read().split(",")]
    return {number for first, _, last in parts for number in range(int(first), int(last or first) + 1)}
