"""Stopping a machine: asked through its agent, then made to."""

from __future__ import annotations

import json
from typing import Any

from envup_kvm import connection, link, wire
from envup_kvm.machines import Machine

_LAST = 15.0
"""Seconds, after the grace, in which a machine may write what it has and switch itself off."""


def stop(libvirtd: Any, machine: Machine, grace: float) -> None:
    """End it: its init is asked to, then what is left is killed in the machine and all is written to its disk, then
    its processor is ended. Errors: `EnvupError`."""
    domain = machine.domain(libvirtd)
    state = machine.state(libvirtd)
    if domain is None or state == "stopped":
        machine.end(libvirtd)
        return
    with connection.telling(f"cannot stop machine '{machine.labels['envup.machine']}'"):
        if state == "suspended":
            domain.resume()
        ending = connection.Ending(libvirtd, domain)
        try:
            if not (_ask(machine, now=False, grace=grace) and ending.wait(grace if grace > 0 else 0)):
                _ask(machine, now=True, grace=0)
                ending.wait(_LAST)
        finally:
            ending.close()
    machine.end(libvirtd)


def _ask(machine: Machine, *, now: bool, grace: float) -> bool:
    """Whether the agent took the request."""
    request = json.dumps({"verb": "end", "now": now, "grace": grace}).encode()
    try:
        with link.open_way(str(machine.place), _LAST) as way:
            way.settimeout(_LAST)
            way.sendall(wire.frame(wire.REQUEST, request))
            return bool(way.recv(1))
    except (link.NoWay, OSError):
        return False
