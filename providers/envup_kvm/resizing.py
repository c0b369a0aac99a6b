"""Limits of a machine that runs: its disk grows, and its root file system with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import libvirt

from envup.errors import EnvupError
from envup.provider import MachineSpec
from envup_kvm import asking, connection, disks, domains, started
from envup_kvm.machines import Machine

_ROOT = "vda"
_PATIENCE = 60.0
"""Seconds in which a machine's file system grows."""


def resize(libvirtd: Any, machine: Machine, spec: MachineSpec, base: Path) -> None:
    """See `Resize`; the machine is locked. `base` is what its disk is laid over. Errors: `EnvupError`."""
    domain, failure = machine.domain(libvirtd), f"machine '{spec.name}' cannot be resized"
    if domain is None or machine.state(libvirtd) != "running":
        raise EnvupError(failure, details="it does not run")
    had, facts = started.read(machine)
    if _fixed(had) != _fixed(spec):
        raise EnvupError(failure, details="memory and cpus change by a restart", hint=f"env restart {spec.name}")
    size = disks.wanted(base, spec.resources.disk)
    with connection.telling(failure):
        has = domain.blockInfo(_ROOT)[0]
        if size < has:
            raise EnvupError(failure, details=f"its disk of {has} bytes cannot shrink", hint="env up --recreate")
        if size > has:
            domain.blockResize(_ROOT, size, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
    asking.ask(machine.place, lambda: {"verb": "grow"}, failure, seconds=_PATIENCE)
    started.note(machine, spec, facts)


def _fixed(spec: MachineSpec) -> tuple[int, int]:
    return spec.resources.memory or domains.DEFAULT_MEMORY, domains.cpus(spec)
