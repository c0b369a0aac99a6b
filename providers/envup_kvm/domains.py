"""A machine as libvirt takes it: the description of a domain, and the labels in it.

Elements are those of https://libvirt.org/formatdomain.html.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as xml

from envup.provider import MachineSpec
from envup.value import Value
from envup_kvm.agent import PORT
from envup_kvm.kits import Kit

NAMESPACE = "https://envup.invalid/xmlns/machine/1"
"""Of our element in a domain's metadata."""
DEFAULT_MEMORY = 512 << 20
"""Bytes, where no limit is declared: a virtual machine has as much as it was given."""
LEAST_MEMORY = 160 << 20
"""Bytes; a Debian kernel with the agent starts in no less."""
MOST_DEFAULT_CPUS = 4
_MACHINES = {"x86_64": "q35", "aarch64": "virt"}
_CONSOLES = {"x86_64": "ttyS0", "aarch64": "ttyAMA0"}

xml.register_namespace("envup", NAMESPACE)


class Parts(Value):
    """What a domain is made of beside its declaration."""

    name: str
    uuid: str
    labels: Mapping[str, str]
    directory: Path
    accelerated: bool
    kit: Kit
    root: Path
    base: Path
    facts: Path
    console: Path
    port: Path


def name(labels: Mapping[str, str]) -> str:
    """The domain's."""
    return f"envup-{labels['envup.environment']}-{labels['envup.machine']}"


def describe(spec: MachineSpec, parts: Parts) -> str:
    """The whole description."""
    domain = xml.Element("domain", type="kvm" if parts.accelerated else "qemu")
    for tag, text in (("name", parts.name), ("uuid", parts.uuid)):
        _add(domain, tag, text)
    domain.append(_metadata(parts))
    _add(domain, "memory", str((spec.resources.memory or DEFAULT_MEMORY) >> 10), unit="KiB")
    _add(domain, "vcpu", str(cpus(spec)))
    domain.append(_os(parts))
    features = _add(domain, "features")
    _add(features, "acpi")
    _add(domain, "cpu", mode="host-passthrough" if parts.accelerated else "maximum")
    for event, action in (("poweroff", "destroy"), ("reboot", "restart"), ("crash", "destroy")):
        _add(domain, f"on_{event}", action)
    domain.append(_devices(parts))
    return xml.tostring(domain, encoding="unicode")


def cpus(spec: MachineSpec) -> int:
    """How many processors the machine has."""
    declared = spec.resources.cpus
    return min(os.cpu_count() or 1, MOST_DEFAULT_CPUS) if declared is None else max(1, int(declared))


def labels_of(description: str) -> tuple[dict[str, str], str] | None:
    """(labels, directory) of a domain of ours, None of any other."""
    element = xml.fromstring(description).find(f"metadata/{{{NAMESPACE}}}machine")
    if element is None:
        return None
    labels = {label.attrib["name"]: label.attrib["value"] for label in element}
    return labels, element.attrib["directory"]


def _add(parent: xml.Element, tag: str, text: str | None = None, **attributes: str) -> xml.Element:
    element = xml.SubElement(parent, tag, attributes)
    element.text = text
    return element


def _metadata(parts: Parts) -> xml.Element:
    metadata = xml.Element("metadata")
    machine = _add(metadata, f"{{{NAMESPACE}}}machine", directory=str(parts.directory))
    for label, value in parts.labels.items():
        _add(machine, f"{{{NAMESPACE}}}label", name=label, value=value)
    return metadata


def _os(parts: Parts) -> xml.Element:
    element = xml.Element("os")
    architecture = platform.machine()
    _add(element, "type", "hvm", arch=architecture, machine=_MACHINES[architecture])
    _add(element, "kernel", str(parts.kit.kernel))
    _add(element, "initrd", str(parts.kit.initrd))
    words = [f"console={_CONSOLES[architecture]}", "net.ifnames=0", "quiet", "loglevel=4", "panic=-1"]
    # What guards a processor against its own speculation guards a program that has none against nothing.
    words += [] if parts.accelerated else ["mitigations=off", "no_timer_check"]
    _add(element, "cmdline", " ".join(words))
    return element


def _devices(parts: Parts) -> xml.Element:
    devices = xml.Element("devices")
    _lay_over(_disk(devices, "vda", parts.root, "qcow2", "envup-root"), parts.base)
    _disk(devices, "vdb", parts.kit.disk, "raw", "envup-kit", read_only=True)
    _disk(devices, "vdc", parts.facts, "raw", "envup-facts", read_only=True)
    _add(devices, "controller", type="usb", model="none")
    interface = _add(devices, "interface", type="user")
    _add(interface, "model", type="virtio")
    console = _add(devices, "console", type="pty")
    _add(console, "log", file=str(parts.console), append="on")
    channel = _add(devices, "channel", type="unix")
    _add(channel, "source", mode="bind", path=str(parts.port))
    _add(channel, "target", type="virtio", name=PORT)
    _add(devices, "memballoon", model="virtio")
    rng = _add(devices, "rng", model="virtio")
    _add(rng, "backend", "/dev/urandom", model="random")
    return devices


def _disk(
    devices: xml.Element, target: str, file: Path, kind: str, serial: str, *, read_only: bool = False
) -> xml.Element:
    disk = _add(devices, "disk", type="file", device="disk")
    written = {} if read_only else {"discard": "unmap", "cache": "writeback"}
    _add(disk, "driver", name="qemu", type=kind, **written)
    _add(disk, "source", file=str(file))
    _add(disk, "target", dev=target, bus="virtio")
    if read_only:
        _add(disk, "readonly")
        _add(disk, "shareable")
    _add(disk, "serial", serial)
    return disk


def _lay_over(disk: xml.Element, base: Path) -> None:
    """What is below it is everybody's to read, and nobody's to own."""
    below = _add(disk, "backingStore", type="file")
    _add(below, "format", type="raw")
    _add(_add(below, "source", file=str(base)), "seclabel", model="dac", relabel="no")
    _add(below, "backingStore")
