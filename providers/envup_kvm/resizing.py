"""Limits of a machine that runs: its memory up to what it was started with, more processors, and a larger disk
with a root file system that fills it."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from envup.errors import EnvupError
from envup.provider import MachineSpec
from envup_kvm import asking, connection, disks, domains, started
from envup_kvm.binding import libvirt
from envup_kvm.machines import Machine

_ROOT = "vda"
_PATIENCE = 120.0
"""Seconds in which a machine's file system grows."""
_STALLED = 10.0
"""Seconds in which a machine that gives up memory gives none."""
_RESERVE = 16 << 10
"""KiB of memory that a machine keeps to go on."""
_HINT = "end some of its programs, or restart it"


def is_possible(libvirtd: Any, machine: Machine, spec: MachineSpec) -> bool:
    """Whether a machine can be resized without a restart. Errors: `EnvupError`."""
    domain = machine.domain(libvirtd)
    if domain is None:
        return False
    with connection.telling("libvirt does not answer"):
        return bool(domains.memory(spec) <= domain.maxMemory() and _has_room(domain, domains.cpus(spec)))


def resize(libvirtd: Any, machine: Machine, spec: MachineSpec, base: Path) -> None:
    """See `Resize`; the machine is locked. `base` is what its disk is laid over. Errors: `EnvupError`."""
    domain, failure = machine.domain(libvirtd), f"machine '{spec.name}' cannot be resized"
    if domain is None or machine.state(libvirtd) != "running":
        raise EnvupError(failure, details="it does not run")
    if not is_possible(libvirtd, machine, spec):
        details = "more memory than it was started with, fewer cpus and more than it has room for need a restart"
        raise EnvupError(failure, details=details, hint=f"env restart {spec.name}")
    with connection.telling(failure):
        _grow_disk(domain, disks.wanted(base, spec.resources.disk), failure)
        asking.ask(machine.place, lambda: {"verb": "grow"}, failure, seconds=_PATIENCE)
        _add_cpus(machine, domain, domains.cpus(spec), failure)
        _set_memory(libvirtd, machine, domain, domains.memory(spec), failure)
    _spec, facts = started.read(machine)
    started.note(machine, spec, facts)


def _has_room(domain: Any, cpus: int) -> bool:
    """None are pulled out: QEMU 7.2 is killed by its allocator some time after that, where it emulates them."""
    most = domain.vcpusFlags(libvirt.VIR_DOMAIN_AFFECT_LIVE | libvirt.VIR_DOMAIN_VCPU_MAXIMUM)
    return bool(_cpus(domain) <= cpus <= most)


def _cpus(domain: Any) -> int:
    return int(domain.vcpusFlags(libvirt.VIR_DOMAIN_AFFECT_LIVE))


def _add_cpus(machine: Machine, domain: Any, wanted: int, failure: str) -> None:
    if wanted > _cpus(domain):
        domain.setVcpusFlags(wanted, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    asking.ask(machine.place, lambda: {"verb": "cpus", "count": wanted}, failure, seconds=_PATIENCE)


def _set_memory(libvirtd: Any, machine: Machine, domain: Any, wanted: int, failure: str) -> None:
    """Returns when the machine has that much; one that cannot give up as much as that has what it had. Errors:
    `EnvupError`."""
    had = domain.memoryStats()["actual"]
    if wanted == had:
        return
    if wanted < had:
        _require_spare(machine, wanted, had, failure)
    with _balloon(libvirtd, domain) as told:
        domain.setMemoryFlags(wanted, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        try:
            while domain.memoryStats()["actual"] != wanted:
                told.get(timeout=_STALLED)
        except queue.Empty:
            domain.setMemoryFlags(had, libvirt.VIR_DOMAIN_AFFECT_LIVE)
            raise EnvupError(failure, details=f"it does not give up {had - wanted} KiB of memory", hint=_HINT) from None


def _require_spare(machine: Machine, wanted: int, had: int, failure: str) -> None:
    """Before a kernel ends programs for want of memory. Errors: `EnvupError`."""
    if wanted < domains.LEAST_MEMORY >> 10:
        raise EnvupError(failure, details=f"a virtual machine needs {domains.LEAST_MEMORY >> 20}MiB of memory")
    answer = asking.ask(machine.place, lambda: {"verb": "spare"}, failure, seconds=_PATIENCE)
    spare = max(0, answer["spare"] - _RESERVE)
    if had - wanted > spare:
        details = f"its programs leave no more than {spare >> 10}MiB of its {had >> 10}MiB of memory"
        raise EnvupError(failure, details=details, hint=_HINT)


@contextlib.contextmanager
def _balloon(libvirtd: Any, domain: Any) -> Iterator[queue.SimpleQueue[int]]:
    """What the machine has each time that it gave up memory or took some."""
    told: queue.SimpleQueue[int] = queue.SimpleQueue()
    kind = libvirt.VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE
    callback = libvirtd.domainEventRegisterAny(domain, kind, lambda _c, _d, actual, _o: told.put(actual), None)
    try:
        yield told
    finally:
        libvirtd.domainEventDeregisterAny(callback)


def _grow_disk(domain: Any, size: int, failure: str) -> None:
    has = domain.blockInfo(_ROOT)[0]
    if size < has:
        raise EnvupError(failure, details=f"its disk of {has} bytes cannot shrink", hint="env up --recreate")
    if size > has:
        domain.blockResize(_ROOT, size, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
