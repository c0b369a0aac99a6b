"""The way into a running LXC machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envup.namespaces import Way


def way(run: Mapping[str, Any]) -> Way:
    """What the record of a running machine says of it."""
    return Way(
        run["pid"],
        run["start"],
        tuple(run["namespaces"]),
        run["capabilities"],
        tuple(run["cgroups"]),
        holder=run["monitor"],
        holder_start=run["monitor_start"],
        label=run["label"],
    )
