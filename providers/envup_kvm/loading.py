"""Going back to a memory in the QEMU that runs already, where its devices are those of the snapshot: libvirt would end
it and start another.

Commands are those of QEMU's own monitor: https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

import libvirt_qemu

from envup.errors import EnvupError
from envup_kvm import connection, link, network, server, shares_moving, snapshot_files, started
from envup_kvm.binding import libvirt
from envup_kvm.machines import Machine
from envup_kvm.snapshot_files import Kept

_IMPLIED = {("input", "ps2"), ("audio", "none")}
"""Devices that libvirt describes or leaves out, as it likes: (tag, `bus` or `type`)."""


def load(libvirtd: Any, machine: Machine, kept: Kept) -> bool:
    """Whether a machine that runs has gone back to a snapshot's memory; it goes on from there, and has no mounts. Where
    it has not, nothing but the present state has suffered, which is to be lost. Errors: `EnvupError`."""
    domain = machine.domain(libvirtd)
    if domain is None or machine.state(libvirtd) != "running" or network.is_lost(machine.recorded()):
        return False
    spec, told = started.read(machine)
    if told != kept.facts:
        return False
    try:
        shares_moving.take_out(libvirtd, machine, spec)
    except EnvupError:  # a program uses them
        return False
    with connection.telling(f"snapshot '{kept.name}' of machine '{spec.name}' cannot be restored"):
        if not _is_alike(domain, kept):
            return False
        with _way_closed(machine.place):
            return _hang_up(domain) and not _ask(domain, f"loadvm {snapshot_files.inside(kept.name)}", human=True)


def require(domain: Any, kept: Kept) -> None:
    """Have a machine that stands still since it was started be as it was in a snapshot. Errors: `EnvupError`."""
    if said := _ask(domain, f"loadvm {snapshot_files.inside(kept.name)}", human=True):
        raise EnvupError(f"snapshot '{kept.name}' cannot be loaded", details=said)


def _is_alike(domain: Any, kept: Kept) -> bool:
    """Whether it runs as it did in the snapshot, with no processors that were plugged in: with those in place QEMU 7.2
    loads the memory, and the machine stands still."""
    then, now = (
        xml.fromstring(kept.description).find("domain"),
        xml.fromstring(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_SECURE)),
    )
    if now.find("vcpus/vcpu[@enabled='yes'][@hotpluggable='yes']") is not None:
        return False
    return then is not None and _bare(then) == _bare(now)


def _bare(description: xml.Element) -> str:
    devices = description.find("devices")
    for device in list(devices) if devices is not None else ():
        if devices is not None and (device.tag, device.get("bus", device.get("type"))) in _IMPLIED:
            devices.remove(device)
    return xml.canonicalize(xml.tostring(description), strip_text=True)


@contextlib.contextmanager
def _way_closed(place: Path) -> Iterator[None]:
    """Nobody finds the shared connection any more, nor makes another meanwhile."""
    with (place / link.LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (place / link.WAY).unlink(missing_ok=True)
        yield


def _hang_up(domain: Any) -> bool:
    """End the host's connection to the machine while it runs: a machine that had one in the snapshot is then told that
    it has none any more. QEMU tells nobody of one that ends while the machine stands still."""
    name = _port(domain)
    _ask(domain, {"execute": "yank", "arguments": {"instances": [{"type": "chardev", "id": name}]}})
    found = json.loads(_ask(domain, {"execute": "query-chardev"}))["return"]
    return any(device["label"] == name and device["filename"].startswith("disconnected:") for device in found)


def _port(domain: Any) -> str:
    """QEMU's name of the machine's port."""
    for channel in xml.fromstring(domain.XMLDesc()).iterfind("devices/channel"):
        target, alias = channel.find("target"), channel.find("alias")
        if target is not None and alias is not None and target.get("name") == server.PORT:
            return f"char{alias.attrib['name']}"
    raise EnvupError(f"domain {domain.name()} has no port {server.PORT}")


def _ask(domain: Any, command: str | dict[str, Any], *, human: bool = False) -> str:
    """What QEMU answers; to a command for humans, what went wrong. Errors: `libvirtError`."""
    line = command if isinstance(command, str) else json.dumps(command)
    flags = libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP if human else 0
    return str(libvirt_qemu.qemuMonitorCommand(domain, line, flags)).strip()
