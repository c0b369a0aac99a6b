"""Machines apart: on another host, by a URI such as qemu+ssh://host/system, or in root's libvirt where an ordinary
account uses that. What they are made of goes to a storage pool there.

    envup-<owner>-*                 guest kit and images, shared by all machines of this home of envup there
    <domain>.qcow2                  a machine's disk
    <domain>.facts <domain>.console what it is told when it boots, removed when it is up; what its console said
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

from envup.errors import EnvupError
from envup.namespaces import directories
from envup.provider import MachineSpec, options_of
from envup.value import replace
from envup_kvm import commands, connection, domain_labels, extra_disks
from envup_kvm.machines import Machine
from envup_kvm.parts import Parts
from envup_kvm.volumes import WHERE, Volumes

DISK, FACTS, CONSOLE = "qcow2", "facts", "console"


def reasons(spec: MachineSpec) -> Iterator[str]:
    """Why a machine cannot be apart, one sentence each."""
    uri, options = connection.of(spec), options_of(spec, "kvm")
    if not connection.is_apart(uri):
        if "pool" in options:
            yield "kvm.pool: it is for machines apart, on another host or in root's libvirt, by kvm.uri"
        return
    where = f"machines at {uri} are apart"
    if spec.mounts:
        yield f"mounts: {where} and do not have these paths; write `mounts: []` and use copy steps"
    if options.get("disks"):
        yield f"kvm.disks: {where} and have one disk; leave kvm.disks or kvm.uri out"
    if options.get("firmware") == "uefi":
        yield f"kvm.firmware: {where} and boot by bios; leave kvm.firmware or kvm.uri out"
    if spec.image.source == "disk":
        yield f"image: {where} and boot no disk images; leave kvm.uri out"


def refuse(machine: Machine, what: str) -> None:
    """Errors: `EnvupError` where the machine is apart."""
    if (known := _known(machine)) is not None:
        name = machine.labels["envup.machine"]
        raise EnvupError(f"machine '{name}' is apart, at {known['uri']}: provider kvm has no {what} there")


def _known(machine: Machine) -> Mapping[str, Any] | None:
    """What it was made with; None where it is not apart."""
    known = directories.read(f"{machine.directory}/{directories.MACHINE}") or {}
    return known if connection.is_apart(known.get("uri", "")) else None


def console_line(machine: Machine, *, follow: bool) -> tuple[str, ...] | None:
    """The line that says what its console said since it was started; None where it is not apart. Errors:
    `EnvupError` with `follow`."""
    known = _known(machine)
    if known is None:
        return None
    if follow:
        refuse(machine, "console that could be followed")
    return commands.remote(
        "remote_console", known["uri"], known["pool"], domain_labels.name(machine.labels), str(machine.data)
    )


class Remote:
    """One machine's files there."""

    def __init__(self, libvirtd: Any, pool: str, domain: str, data: Path) -> None:
        self._libvirtd, self._volumes, self._domain = libvirtd, Volumes(libvirtd, pool, data), domain

    @classmethod
    def of(cls, libvirtd: Any, machine: Machine) -> Remote | None:
        """That of a machine; None where it is not apart. Errors: `EnvupError`."""
        known = _known(machine)
        if known is None:
            return None
        return cls(libvirtd, known["pool"], domain_labels.name(machine.labels), machine.data)

    def publish(self, parts: Parts) -> Parts:
        """Send what is missing there; the parts as they are there. The disk there is as large as the one here, which
        stays empty. Errors: `EnvupError`, `OSError`."""
        kit, key = parts.kit, parts.kit.disk.parent.name
        base = self._volumes.share(parts.base.name, parts.base)
        self._volumes.remove(self._name(CONSOLE))
        with parts.facts.open("rb") as facts:
            told = self._volumes.put(self._name(FACTS), facts)
        return replace(
            parts,
            kit=replace(
                kit,
                kernel=Path(self._volumes.share(f"kernel-{key}", kit.kernel)),
                initrd=Path(self._volumes.share(f"{kit.initrd.name}-{key}", kit.initrd)),
                disk=Path(self._volumes.share(f"kit-{key}", kit.disk)),
            ),
            root=Path(self._volumes.lay_over(self._name(DISK), base, extra_disks.virtual_size(parts.root))),
            base=Path(base),
            facts=Path(told),
            console=Path(self._volumes.path(self._name(CONSOLE))),
            port=None,
        )

    def accelerated(self, spec: MachineSpec) -> bool:
        """Whether it is to be: its libvirt is believed that it can. Errors: `EnvupError` where it must and cannot."""
        wanted = options_of(spec, "kvm").get("acceleration", "auto")
        with connection.telling("libvirt does not tell its capabilities"):
            told = xml.fromstring(self._libvirtd.getCapabilities())
        works = told.find("guest/arch/domain[@type='kvm']") is not None
        if wanted == "kvm" and not works:
            raise EnvupError("kvm.acceleration: the machine's host has none", hint="write `acceleration: auto`")
        return works and wanted != "tcg"

    def console(self) -> bytes:
        """What the machine has said since it was started. Errors: `EnvupError`."""
        return self._volumes.read(self._name(CONSOLE))

    def forget_facts(self) -> None:
        """Remove what it was told, which its QEMU has open. Errors: `EnvupError`."""
        self._volumes.remove(self._name(FACTS))

    def remove(self) -> None:
        """Remove all of the machine's own. Errors: `EnvupError`."""
        self._volumes.remove(*map(self._name, (DISK, FACTS, CONSOLE)))

    def _name(self, kind: str) -> str:
        return f"{self._domain}.{kind}"


def forget_image(connections: connection.Connections, data: Path, digest: str) -> None:
    """Remove an image from every host that it was sent to. Errors: `EnvupError`."""
    name = f"{digest.rpartition(':')[2]}.ext4"
    for note in sorted((data / "remote").glob(f"*/envup-*-{name}")):
        uri, pool = json.loads((note.parent / WHERE).read_text())
        Volumes(connections.at(uri), pool, data).forget(name)
