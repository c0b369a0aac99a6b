"""Snapshots of a machine: taken by QEMU with its memory while it runs, of its disks alone while it does not.

libvirt keeps nothing of them: what it is to know it is told for the moment, so that a domain that somebody undefines
loses none, see `snapshot_files`.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

from envup.errors import EnvupError
from envup.provider import Snapshot
from envup_kvm import (
    asking,
    connection,
    fitting,
    link,
    loading,
    network,
    places,
    shares_moving,
    snapshot_files,
    started,
)
from envup_kvm.binding import libvirt
from envup_kvm.machines import BEGUN, BOOTED, Machine
from envup_kvm.parts import add
from envup_kvm.snapshot_files import Kept

_PATIENCE = 60.0
"""Seconds in which a machine that goes on from its memory answers."""


def take(libvirtd: Any, machine: Machine, name: str) -> Snapshot:
    """See `Snapshots`; the machine is locked. Errors: `EnvupError`."""
    if snapshot_files.find(machine.directory, name) is not None:
        raise EnvupError(f"machine '{_called(machine)}' has a snapshot '{name}' already")
    delete(libvirtd, machine, name)
    state = machine.state(libvirtd)
    if state == "running":
        asking.flush(machine.place, _called(machine))  # for those that begin with its files alone
    if state == "stopped":
        kept = _take_disks(machine, name)
    else:
        spec, facts = started.read(machine)
        with shares_moving.without_mounts(libvirtd, machine, spec, state):
            kept = _take_running(libvirtd, machine, name, facts)
            if state == "running":  # it stood still meanwhile
                asking.wake(machine.place, spec.name, seconds=_PATIENCE)
    snapshot_files.write(machine.directory, kept)
    return kept.snapshot


def restore(libvirtd: Any, machine: Machine, name: str) -> None:
    """See `Snapshots`; the machine is locked. Errors: `EnvupError`."""
    kept = snapshot_files.require(machine.directory, name, _called(machine))
    if kept.description:
        _require_fit(libvirtd, machine, kept)
        if loading.load(libvirtd, machine, kept) and _is_back(machine):
            shares_moving.put_in(libvirtd, machine, started.read(machine)[0])
            return
    machine.end(libvirtd)
    network.leave(machine)
    if kept.description:
        _go_on(libvirtd, machine, kept)
        return
    snapshot_files.apply(machine.directory, "-a", name, kept.disks)
    if not kept.booted:
        for mark in (BEGUN, BOOTED):
            (machine.directory / mark).unlink(missing_ok=True)


def delete(libvirtd: Any, machine: Machine, name: str) -> None:
    """See `Snapshots`; the machine is locked. What a crash left of one is removed too. Errors: `EnvupError`."""
    snapshot_files.forget(machine.directory, name)
    having = [
        disk
        for disk in snapshot_files.disks(machine.directory)
        if snapshot_files.inside(name) in snapshot_files.names(machine.directory / disk)
    ]
    domain = machine.domain(libvirtd)
    if having and domain is not None and machine.state(libvirtd) != "stopped":
        with connection.telling(f"snapshot '{name}' of machine '{_called(machine)}' cannot be deleted"):
            description = _describe(domain, snapshot_files.inside(name), having, machine.directory)
            add(description, "state", "running")
            add(description, "creationTime", str(int(time.time())))
            description.append(xml.fromstring(domain.XMLDesc()))
            _tell(domain, xml.tostring(description, encoding="unicode")).delete()
    else:
        snapshot_files.apply(machine.directory, "-d", name, tuple(having))


def _called(machine: Machine) -> str:
    return machine.labels["envup.machine"]


def _take_disks(machine: Machine, name: str) -> Kept:
    disks = snapshot_files.disks(machine.directory)
    created, booted = time.time(), (machine.directory / BEGUN).exists()
    try:
        snapshot_files.apply(machine.directory, "-c", name, disks)
    except EnvupError:
        having = [
            disk for disk in disks if snapshot_files.inside(name) in snapshot_files.names(machine.directory / disk)
        ]
        snapshot_files.apply(machine.directory, "-d", name, tuple(having))
        raise
    return Kept(name, created, disks, booted)


def _take_running(libvirtd: Any, machine: Machine, name: str, facts: tuple[int, str]) -> Kept:
    domain = machine.domain(libvirtd)
    if domain is None:
        raise EnvupError(f"machine '{_called(machine)}' vanished while it was worked on")
    created = time.time()
    with connection.telling(f"snapshot '{name}' of machine '{_called(machine)}' cannot be taken"):
        written = _written(xml.fromstring(domain.XMLDesc()), machine.directory)
        description = _describe(domain, snapshot_files.inside(name), written, machine.directory)
        add(description, "memory", snapshot="internal")
        taken = domain.snapshotCreateXML(xml.tostring(description, encoding="unicode"))
        whole = taken.getXMLDesc(libvirt.VIR_DOMAIN_SNAPSHOT_XML_SECURE)
        taken.delete(libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY)
        processor = fitting.processor(xml.fromstring(whole).find("domain"))
        return Kept(name, created, tuple(written), True, whole, facts, fitting.hypervisor(libvirtd), processor)


def _describe(domain: Any, name: str, disks: list[str], directory: Path) -> xml.Element:
    """A snapshot inside those disks of the domain, and of no other; https://libvirt.org/formatsnapshot.html."""
    description = xml.Element("domainsnapshot")
    add(description, "name", name)
    chosen = add(description, "disks")
    for disk in xml.fromstring(domain.XMLDesc()).iterfind("devices/disk"):
        kind = "internal" if _file(disk, directory) in disks else "no"
        add(chosen, "disk", name=disk.find("target").attrib["dev"], snapshot=kind)  # type: ignore[union-attr]
    return description


def _written(description: xml.Element, directory: Path) -> list[str]:
    """The machine's own disks as it runs, by their names in its directory."""
    found = (_file(disk, directory) for disk in description.iterfind("devices/disk") if disk.find("readonly") is None)
    return [name for name in found if name is not None]


def _file(disk: xml.Element, directory: Path) -> str | None:
    source = disk.find("source")
    path = Path(source.get("file", "") if source is not None else "")
    return path.name if path.parent == directory else None


def _tell(domain: Any, description: str) -> Any:
    """Have libvirt know a snapshot of which the disks have the content."""
    return domain.snapshotCreateXML(description, libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE)


def _require_fit(libvirtd: Any, machine: Machine, kept: Kept) -> None:
    """Errors: `EnvupError` for a memory that nothing here can go on from."""
    brief = f"snapshot '{kept.name}' of machine '{_called(machine)}' cannot be restored"
    now, domain = fitting.hypervisor(libvirtd), xml.fromstring(kept.description).find("domain")
    if kept.hypervisor != now:
        raise EnvupError(brief, details=f"its memory was kept by {kept.hypervisor}, and this host has {now}")
    if kept.processor != fitting.processor(domain):
        raise EnvupError(brief, details=f"its memory is that of another processor: {kept.processor}")
    sources = [] if domain is None else [source.get("file") for source in domain.iterfind("devices//source")]
    boots = [] if domain is None else [element.text for element in domain.iterfind("os/*") if element.text]
    outside = [Path(path) for path in (*sources, *boots) if path and path.startswith("/")]
    for path in outside:
        if not path.exists() and path.parent != machine.place:
            raise EnvupError(brief, details=f"{path}, which it was started with, is gone")


def _is_back(machine: Machine) -> bool:
    """Whether a machine answers that went on in the QEMU that ran it; one that does not is started anew."""
    try:
        asking.wake(machine.place, _called(machine), seconds=_PATIENCE)
    except EnvupError:
        return False
    return True


def _go_on(libvirtd: Any, machine: Machine, kept: Kept) -> None:
    """Start it from its memory, plugged in and reachable. Errors: `EnvupError`; it does not run then."""
    spec, _facts = started.read(machine)
    failure = f"snapshot '{kept.name}' of machine '{spec.name}' cannot be restored"
    with network.joined(machine, spec, network.place(machine, spec)) as joining:
        try:
            with connection.telling(failure):
                places.make_again(machine.place, machine.directory, kept.facts[0])
                (machine.place / link.UP).touch(mode=0o600)
                joining.offer(libvirtd)
                _revert(libvirtd, kept)
            text = asking.wake(machine.place, spec.name, seconds=_PATIENCE)
            joining.settle()
            places.tell_again(machine.place, machine.directory, text)
            started.note(machine, spec, kept.facts)
        except BaseException:
            machine.end(libvirtd)
            raise
    shares_moving.put_in(libvirtd, machine, spec)


def _revert(libvirtd: Any, kept: Kept) -> None:
    """Not as libvirt goes back to a snapshot: it has QEMU load the memory before all processors are plugged in."""
    ran = xml.fromstring(kept.description).find("domain")
    if ran is None:
        raise EnvupError(f"the record of snapshot '{kept.name}' is damaged")
    domain = libvirtd.defineXML(xml.tostring(ran, encoding="unicode"))
    domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
    loading.require(domain, kept)
    domain.resume()
