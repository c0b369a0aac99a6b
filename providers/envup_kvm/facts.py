"""What a machine is told when it boots: its name, its network, its variables. Read by `boot` and `children`."""

from __future__ import annotations

import os
from typing import Any

from envup.networks.addresses import Place
from envup.provider import MachineSpec, options_of
from envup_kvm import network, shares

_RANDOM = 64
"""Bytes for a machine that goes on from the memory of another: as many as its kernel's pool has, and more."""


def of(spec: MachineSpec, place: Place, *, first: bool, boots_itself: bool) -> dict[str, Any]:
    """They, as JSON, for a machine that is at `place`. `first`: it never ran before; `boots_itself`: its image is a
    disk image."""
    return {
        "hostname": spec.hostname or spec.name,
        **network.facts(spec, place),
        "environment": dict(spec.environment),
        "init": options_of(spec, "kvm").get("init", "auto"),
        "first": first,
        "boots_itself": boots_itself,
        "random": os.urandom(_RANDOM).hex(),
        "mounts": [(mount.target, mount.read_only) for mount in shares.ordered(spec)],
    }
