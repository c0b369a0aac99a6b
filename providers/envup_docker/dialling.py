"""Ports of a container, reached in its own network by way of its first process, where that is one of this host's."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envup import namespaces
from envup.errors import TransportError
from envup.namespaces import records
from envup.provider import Instance


def way(found: Mapping[str, Any]) -> namespaces.Way | None:
    """The way into the network of a container that the engine describes so; None when it does not run, its processes
    are on another host, or this account may not enter it."""
    process = int(found["State"]["Pid"])
    try:
        if not process or found["Id"] not in Path(f"/proc/{process}/cgroup").read_text():
            return None
        kinds = tuple(kind for kind in namespaces.namespaces_of(process) if kind in ("user", "net"))
    except OSError:
        return None
    start = records.start_time(process)
    return None if start is None else namespaces.Way(process, start, kinds)


def dial(found: Mapping[str, Any], instance: Instance, port: int, timeout: float) -> socket.socket:
    """See `Dial.dial`. Errors: `OSError`, `TransportError`."""
    into = way(found)
    if into is None:
        brief = f"the network of machine '{instance.machine}' cannot be entered"
        raise TransportError(brief, hint="it must run on this host, and only root or who runs the engine may do so")
    addresses = tuple(dict.fromkeys((*namespaces.LOOPBACK, *instance.addresses)))
    return namespaces.dial(into, port, machine=instance.machine, timeout=timeout, addresses=addresses)
