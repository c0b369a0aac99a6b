"""Starting a machine, and what is told when it does not come up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envup.errors import EnvupError
from envup.provider import MachineSpec, options_of
from envup_kvm import (
    acceleration,
    connection,
    disks,
    domains,
    extra_disks,
    facts,
    link,
    places,
    readiness,
    shares,
    started,
)
from envup_kvm.disks import Disks
from envup_kvm.kits import Kit
from envup_kvm.machines import BOOTED, CONSOLE, DISK, Machine
from envup_kvm.parts import Parts

_TIMEOUTS = {True: 60, False: 600}
"""Seconds for a boot, by whether it is accelerated."""
_LINES = 20
"""Lines of the console that an error shows."""


def start(libvirtd: Any, machine: Machine, known: Mapping[str, Any], spec: MachineSpec, kit: Kit) -> None:
    """Start a machine that does not run, and return when a program can run in it. Errors: `EnvupError`; it does not run
    then."""
    accelerated = acceleration.chosen(spec, machine.data, kit)
    log = machine.directory / CONSOLE
    console = readiness.Console(log, log.stat().st_size)
    disks.grow(machine.directory / DISK, disks.wanted(Disks(machine.data).path(known["image"]), spec.resources.disk))
    extra_disks.prepare(options_of(spec, "kvm"), machine.directory)
    with connection.telling(f"cannot start machine '{spec.name}'"):
        places.make(machine.place, machine.directory, facts.of(spec, first=not (machine.directory / BOOTED).exists()))
        started.note(machine, spec, (machine.place / places.FACTS).stat().st_size)
        domain = libvirtd.defineXML(domains.describe(spec, parts(machine, known, spec, kit, accelerated=accelerated)))
        (machine.directory / BOOTED).touch()
        with shares.offered(libvirtd, machine.place, spec):
            domain.create()
    try:
        seconds = options_of(spec, "kvm").get("boot_timeout", _TIMEOUTS[accelerated])
        with console.followed():
            readiness.await_machine(machine.place, seconds, console)
    except link.NoWay as error:
        machine.end(libvirtd)
        raise EnvupError(
            f"machine '{spec.name}' does not come up: {error.stage} fails",
            details="\n".join([str(error), *console.last_lines(_LINES)]),
            hint="`env logs` shows all that its console said",
        ) from error
    except BaseException:
        machine.end(libvirtd)
        raise
    (machine.place / places.FACTS).unlink()  # QEMU has it open; it holds what must lie on no disk


def is_up(libvirtd: Any, machine: Machine, spec: MachineSpec) -> bool:
    """Whether a program can run in it; one that boots is waited for, one that somebody paused goes on. Errors:
    `EnvupError`."""
    state = machine.state(libvirtd)
    if state == "stopped":
        return False
    with connection.telling(f"cannot resume machine '{spec.name}'"):
        if state == "suspended" and (domain := machine.domain(libvirtd)) is not None:
            domain.resume()
    try:
        seconds = options_of(spec, "kvm").get("boot_timeout", _TIMEOUTS[False])
        readiness.await_machine(machine.place, seconds, None)
    except link.NoWay:
        return False
    return True


def parts(machine: Machine, known: Mapping[str, Any], spec: MachineSpec, kit: Kit, *, accelerated: bool) -> Parts:
    """What the domain of a machine is made of."""
    options = options_of(spec, "kvm")
    return Parts(
        name=domains.name(known["labels"]),
        uuid=known["id"],
        labels=known["labels"],
        directory=machine.directory,
        accelerated=accelerated,
        kit=kit,
        root=machine.directory / DISK,
        base=Disks(machine.data).path(known["image"]),
        facts=machine.place / places.FACTS,
        console=machine.directory / CONSOLE,
        port=machine.place / link.PORT,
        shares=machine.place / shares.SOCKET if spec.mounts else None,
        options=options,
        disks=extra_disks.files(options, machine.directory),
    )
