"""Starting a machine, and what is told when it does not come up."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from envup.errors import EnvupError, InterruptedByUser
from envup.events import Emit, Event
from envup.namespaces import layers
from envup.provider import MachineSpec, options_of
from envup.value import replace
from envup_kvm import (
    acceleration,
    asking,
    connection,
    disk_images,
    disks,
    domain_labels,
    domains,
    extra_disks,
    facts,
    link,
    memories,
    network,
    places,
    readiness,
    remote,
    seed,
    seeing,
    shares,
    shares_moving,
    started,
    tpm,
)
from envup_kvm.binding import libvirt
from envup_kvm.disks import Disks
from envup_kvm.kits import Kit
from envup_kvm.machines import BEGUN, BOOTED, CONSOLE, DISK, FACTS, Machine
from envup_kvm.parts import Parts

_TIMEOUTS = {(True, False): 60, (False, False): 600, (True, True): 180, (False, True): 900}
"""Seconds for a boot, by whether it is accelerated and whether it is that of a disk image."""
_PATIENCE = 60.0
"""Seconds in which a machine that has gone on answers."""
_KERNEL = 100.0
"""Seconds in which a kernel comes to its first program on a busy host without acceleration. One that does not hangs,
which was seen once in some 1,500 boots where QEMU 7.2 emulated two processors. It is looked at whenever `link` has
waited for a minute."""
_LINES = 20
"""Lines of the console that an error shows."""
_warned: dict[Path, object] = {}
"""Who told of the missing acceleration, by the provider's directory."""


def start(libvirtd: Any, machine: Machine, known: Mapping[str, Any], spec: MachineSpec, kit: Kit, emit: Emit) -> None:
    """Start a machine that does not run, and return when a program can run in it. Errors: `EnvupError`; it does not run
    then."""
    memory = memories.of(machine, known, spec)
    if memory is not None:
        try:
            _start(libvirtd, machine, known, spec, kit, emit, memory)
        except InterruptedByUser:
            raise
        except EnvupError as error:
            text = f"it boots, as it cannot go on from the memory of its layer: {error.in_a_line()}"
            emit(Event("progress", machine=spec.name, text=text))
        else:
            return
    try:
        _start(libvirtd, machine, known, spec, kit, emit, None, patience=_KERNEL)
    except link.Hung:
        text = "its kernel hangs: it has not come to its first program in two minutes; it is started once more"
        emit(Event("warning", machine=spec.name, text=text))
        _start(libvirtd, machine, known, spec, kit, emit, None)


def _start(
    libvirtd: Any,
    machine: Machine,
    known: Mapping[str, Any],
    spec: MachineSpec,
    kit: Kit,
    emit: Emit,
    memory: Path | None,
    patience: float | None = None,
) -> None:
    """By a boot, or from the `memory` beside a layer. Errors: `EnvupError`; `link.Hung` where there is a limit to the
    `patience` with the kernel. It does not run then."""
    away = remote.Remote.of(libvirtd, machine)
    accelerated = _accelerated(machine, spec, kit, emit) if away is None else away.accelerated(spec)
    log = machine.directory / CONSOLE
    disks.grow(machine.directory / DISK, disks.wanted(Disks(machine.data).path(known["image"]), spec.resources.disk))
    extra_disks.prepare(options_of(spec, "kvm"), machine.directory)
    place = network.place(machine, spec)
    with _forgotten(machine), network.joined(machine, spec, place) as joining:
        with connection.telling(f"cannot start machine '{spec.name}'"):
            first = not (machine.directory / BOOTED).exists()
            made = parts(machine, known, spec, kit, accelerated=accelerated)
            says = made.seed is None and away is None
            console = readiness.Console(log, log.stat().st_size, patience if says else None)
            told = facts.of(spec, place, first=first, boots_itself=made.seed is not None)
            places.make(machine.place, machine.directory, told)
            if made.seed is not None:
                seed.make(made.seed, made.uuid, told, place)
            started.note(machine, spec, places.told(machine.place))
            made = made if away is None else away.publish(made)
            card = network.card(spec, place, machine.place / network.SOCKET)
            tpm.forget(libvirtd, machine, made)
            domain = libvirtd.defineXML(domains.describe(spec, replace(made, card=card)))
            (machine.directory / BEGUN).touch()
            joining.offer(libvirtd)
            if memory is None:
                with shares.offered(libvirtd, machine.place, spec):
                    domain.createWithFlags(libvirt.VIR_DOMAIN_START_FORCE_BOOT)  # not what somebody had libvirt save
            else:
                memories.resume(libvirtd, machine, domain, memory)
        with _told_from(away):
            _await_up(libvirtd, machine, spec, joining, console, made)
        if memory is not None:
            _go_on(libvirtd, machine, spec)
    (machine.directory / BOOTED).touch()


def _go_on(libvirtd: Any, machine: Machine, spec: MachineSpec) -> None:
    """What a machine lacks that has only gone on: the time, and its mounts. Errors: `EnvupError`; it is ended."""
    try:
        asking.wake(machine.place, spec.name, seconds=_PATIENCE)
        shares_moving.put_in(libvirtd, machine, spec)
    except BaseException:
        machine.end(libvirtd)
        raise


@contextlib.contextmanager
def _forgotten(machine: Machine) -> Iterator[None]:
    """In the end nothing is left of what the machine was told, which must lie on no disk; QEMU has it open."""
    try:
        yield
    finally:
        (machine.place / FACTS).unlink(missing_ok=True)


@contextlib.contextmanager
def _told_from(away: remote.Remote | None) -> Iterator[None]:
    """What a machine that is apart was told lies there no longer than here, and what its console said is told."""
    try:
        yield
    except EnvupError as error:
        if away is None:
            raise
        said = away.console().decode(errors="replace").replace("\r", "").splitlines()
        raise EnvupError(error.brief, details="\n".join([error.details, *said[-_LINES:]]), hint=error.hint) from error
    finally:
        if away is not None:
            away.forget_facts()


def _accelerated(machine: Machine, spec: MachineSpec, kit: Kit, emit: Emit) -> bool:
    """Whether it is to be. Where it cannot, that is told once for all machines of a command."""
    choice = acceleration.chosen(spec, machine.data, kit)
    if choice.reason and _warned.setdefault(machine.data, own := object()) is own:
        text = f"no hardware acceleration: {choice.reason}; machines are {acceleration.COST}"
        emit(Event("warning", machine=spec.name, text=text))
    return choice.works


def _await_up(
    libvirtd: Any,
    machine: Machine,
    spec: MachineSpec,
    joining: network.Joining,
    console: readiness.Console,
    made: Parts,
) -> None:
    """Return when a program can run in it. Errors: `EnvupError`, `link.Hung`; it is ended."""
    seconds = made.options.get("boot_timeout", _TIMEOUTS[made.accelerated, made.seed is not None])
    limit = time.monotonic() + seconds
    try:
        with console.followed():
            readiness.await_machine(machine.place, seconds, console)
        joining.settle()
    except link.Hung:
        machine.end(libvirtd)
        raise
    except link.NoWay as error:
        late = time.monotonic() >= limit
        machine.end(libvirtd)
        failure = _failure(spec, made, error, console)
        if late:
            failure.hint = f"it had {seconds} s, see kvm.boot_timeout; {failure.hint}"
        raise failure from error
    except BaseException:
        machine.end(libvirtd)
        raise


def _failure(spec: MachineSpec, made: Parts, error: link.NoWay, console: readiness.Console) -> EnvupError:
    """What is told when nobody is let in. A disk image is silent until cloud-init has run."""
    stage, hint = error.stage, "`env logs` shows all that its console said"
    if made.seed is not None and stage == "boot":
        stage = "cloud-init" if console.mentions(seed.TRACE) else "boot"
        hint = f"{seed.NEEDS}; {hint}"
    return EnvupError(
        f"machine '{spec.name}' does not come up: {stage} fails",
        details="\n".join([str(error), *console.last_lines(_LINES)]),
        hint=hint,
    )


def is_up(libvirtd: Any, machine: Machine, spec: MachineSpec) -> bool:
    """Whether a program can run in it, on its network; one that boots is waited for, one that somebody paused goes on.
    Errors: `EnvupError`."""
    state = machine.state(libvirtd)
    if state == "stopped" or seeing.is_lost(machine):
        return False
    with connection.telling(f"cannot resume machine '{spec.name}'"):
        if state == "suspended" and (domain := machine.domain(libvirtd)) is not None:
            domain.resume()
    seconds = options_of(spec, "kvm").get("boot_timeout", max(_TIMEOUTS.values()))
    try:
        readiness.await_machine(machine.place, seconds, None)
    except link.NoWay:
        return False
    (machine.directory / BOOTED).touch()
    asking.wake(machine.place, spec.name, seconds=seconds)
    shares_moving.put_in(libvirtd, machine, started.read(machine)[0])  # a snapshot that was cut short has them out
    return True


def parts(machine: Machine, known: Mapping[str, Any], spec: MachineSpec, kit: Kit, *, accelerated: bool) -> Parts:
    """What the domain of a machine is made of."""
    options, base = options_of(spec, "kvm"), Disks(machine.data).path(known["image"])
    return Parts(
        name=domain_labels.name(known["labels"]),
        uuid=known["id"],
        labels=known["labels"],
        directory=machine.directory,
        accelerated=accelerated,
        kit=kit,
        root=machine.directory / DISK,
        base=base,
        base_format=disk_images.kind(base),
        layers=tuple(layers.stack(machine.data, known.get("layers", ()), DISK)),
        seed=machine.directory / seed.FILE if disk_images.boots(base) else None,
        facts=machine.place / FACTS,
        console=machine.directory / CONSOLE,
        port=machine.place / link.PORT,
        shares=machine.place / shares.SOCKET if spec.mounts else None,
        options=options,
        disks=extra_disks.files(options, machine.directory),
    )
