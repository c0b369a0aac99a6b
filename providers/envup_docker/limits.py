"""Limits of a machine as the engine takes them, when a container is made and while it lives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envup.provider import Resources

UNLIMITED_MEMORY = 0x7FFFFFFFFFFFF000
"""The kernel's PAGE_COUNTER_MAX in bytes, what it takes as no limit."""
_PERIOD = 100_000
"""Microseconds over which the share of cpu time is counted."""


def whole(resources: Resources) -> dict[str, int]:
    """What `POST /containers/ID/update` takes; limits that are not declared are lifted. Memory has no swap beside it,
    and is lifted by as much as there can be, for 0 changes nothing there and -1 is refused."""
    memory = resources.memory
    return {
        "Memory": memory or UNLIMITED_MEMORY,
        "MemorySwap": memory or UNLIMITED_MEMORY,
        "CpuPeriod": _PERIOD,
        "CpuQuota": -1 if resources.cpus is None else max(1000, round(resources.cpus * _PERIOD)),
        "PidsLimit": resources.pids or -1,
    }


def declared(resources: Resources) -> dict[str, int]:
    """Those of `whole` that are declared, as `POST /containers/create` takes them."""
    found = {name: value for name, value in whole(resources).items() if value not in (-1, UNLIMITED_MEMORY)}
    if resources.cpus is None:
        del found["CpuPeriod"]
    return found


def of(host: Mapping[str, Any]) -> dict[str, int]:
    """The limits that a container has, by its `HostConfig`, as `declared` gives them."""
    found = {key: host.get(key) or 0 for key in ("Memory", "MemorySwap", "CpuPeriod", "CpuQuota", "PidsLimit")}
    if found["CpuQuota"] <= 0:
        del found["CpuPeriod"]
    return {key: value for key, value in found.items() if 0 < value < UNLIMITED_MEMORY}
