"""Takes the device of a machine's mounts out while the machine runs, and puts it in again: QEMU saves the memory of no
machine that has one."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as xml

from envup.errors import EnvupError, TransportError
from envup.namespaces import programs
from envup.provider import MachineSpec
from envup_kvm import commands, connection, shares, shares_life
from envup_kvm.binding import libvirt
from envup_kvm.machines import Machine

_PATIENCE = 60.0
"""Seconds in which a machine's kernel lets a device go."""


def take_out(libvirtd: Any, machine: Machine, spec: MachineSpec) -> None:
    """Unmount in a running machine what it has of the host, and take the device out, with which virtiofsd ends. Without
    mounts, or where they are out already, nothing is done. Errors: `EnvupError`, which names the programs of the
    machine that use a mount; all is mounted then."""
    domain = machine.domain(libvirtd)
    if domain is None or not has_device(domain):
        return
    failure = f"the mounts of machine '{spec.name}' cannot be taken out"
    _ask(machine, spec, "detach", failure)
    try:
        _detach(libvirtd, domain, machine, failure)
        (machine.place / shares_life.LOG).unlink(missing_ok=True)
    except EnvupError:
        _ask(machine, spec, "attach", f"{failure}, nor be mounted again")
        raise


def put_in(libvirtd: Any, machine: Machine, spec: MachineSpec) -> None:
    """Add the device with a new virtiofsd to a running machine that has none, and mount there what `spec` declares.
    Without mounts, or where they are in, nothing is done. Errors: `EnvupError`."""
    domain = machine.domain(libvirtd)
    if domain is None or not spec.mounts or has_device(domain):
        return
    failure = f"the mounts of machine '{spec.name}' cannot be put in"
    with connection.telling(failure), shares.offered(libvirtd, machine.place, spec):
        domain.attachDeviceFlags(_device(machine), libvirt.VIR_DOMAIN_AFFECT_LIVE)
    _ask(machine, spec, "attach", failure)


@contextlib.contextmanager
def without_mounts(libvirtd: Any, machine: Machine, spec: MachineSpec, state: str) -> Iterator[None]:
    """The machine without the device of its mounts, with which QEMU saves no memory. One that stands still has to run
    for the moments in which its kernel lets the device go, and finds it again. Errors: `EnvupError`."""
    domain = machine.domain(libvirtd)
    if domain is None or not has_device(domain):
        yield
        return
    with connection.telling(f"machine '{spec.name}' cannot be paused"):
        if state == "suspended":
            domain.resume()
        try:
            take_out(libvirtd, machine, spec)
            try:
                yield
            finally:
                with back_again(spec.name):
                    put_in(libvirtd, machine, spec)
        finally:
            if state == "suspended":
                domain.suspend()


@contextlib.contextmanager
def back_again(machine: str) -> Iterator[None]:
    """Errors within as those of a machine that is not as it was before. Errors: `TransportError`."""
    try:
        yield
    except EnvupError as error:
        raise TransportError(error.brief, details=error.details, hint=f"`env restart {machine}`") from error


def has_device(domain: Any) -> bool:
    """Whether the machine has a device for mounts now. Errors: `EnvupError`."""
    with connection.telling("libvirt does not answer"):
        return xml.fromstring(domain.XMLDesc()).find("devices/filesystem") is not None


def _device(machine: Machine) -> str:
    return xml.tostring(shares.device(machine.place / shares.SOCKET), encoding="unicode")


def _ask(machine: Machine, spec: MachineSpec, verb: str, failure: str) -> None:
    targets = json.dumps([(mount.target, mount.read_only) for mount in shares.ordered(spec)])
    programs.run(commands.mounts(str(machine.place), verb, targets), failure)


def _detach(libvirtd: Any, domain: Any, machine: Machine, failure: str) -> None:
    """Returns when the machine's kernel has let it go. Errors: `EnvupError`."""
    gone = threading.Event()
    kind = libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED
    with connection.telling(failure):
        callback = libvirtd.domainEventRegisterAny(domain, kind, lambda *_told: gone.set(), None)
        try:
            domain.detachDeviceFlags(_device(machine), libvirt.VIR_DOMAIN_AFFECT_LIVE)
            if has_device(domain) and not gone.wait(_PATIENCE):
                raise EnvupError(failure, details="its kernel does not let the device go")
        finally:
            libvirtd.domainEventDeregisterAny(callback)
