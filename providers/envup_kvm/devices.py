"""The devices of a machine, as https://libvirt.org/formatdomain.html#devices describes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as xml

from envup_kvm import seats, shares, tpm
from envup_kvm.parts import Parts, add
from envup_kvm.server import PORT


def describe(parts: Parts) -> xml.Element:
    """The element `devices`."""
    devices = xml.Element("devices")
    _add_disks(devices, parts)
    add(devices, "controller", type="usb", model="none")
    if parts.card is not None and parts.card.tag == "interface":
        devices.append(parts.card)
    console = add(devices, "console", type="pty")
    add(console, "log", file=str(parts.console), append="on")
    channel = add(devices, "channel", type="unix")
    if parts.port is not None:
        add(channel, "source", mode="bind", path=str(parts.port))
    add(channel, "target", type="virtio", name=PORT)
    if parts.shares is not None:
        devices.append(shares.device(parts.shares))
    tpm.give(devices, parts)
    add(devices, "memballoon", model="virtio")
    rng = add(devices, "rng", model="virtio")
    add(rng, "backend", "/dev/urandom", model="random")
    seats.give(devices)
    return devices


def _add_disks(devices: xml.Element, parts: Parts) -> None:
    """A machine finds its disks by their serial numbers; firmware boots from the first."""
    root = _disk(devices, "vda", parts.root, "qcow2", "envup-root")
    _lay_over(root, [*((layer, "qcow2") for layer in parts.layers), (parts.base, parts.base_format)])
    _disk(devices, "vdb", parts.kit.disk, "raw", "envup-kit", read_only=True)
    _disk(devices, "vdc", parts.facts, "raw", "envup-facts", read_only=True)
    letters = iter("defghijklmnopqrstuvwxyz")
    if parts.seed is not None:
        add(root, "boot", order="1")
        for file, serial in ((parts.seed, "envup-seed"), (parts.kit.programs, "envup-programs")):
            _disk(devices, f"vd{next(letters)}", file, "raw", serial, read_only=True)
    for (name, file), letter in zip(parts.disks, letters, strict=False):
        _disk(devices, f"vd{letter}", file, "qcow2", name)


def _disk(
    devices: xml.Element, target: str, file: Path, kind: str, serial: str, *, read_only: bool = False
) -> xml.Element:
    disk = add(devices, "disk", type="file", device="disk")
    written = {} if read_only else {"discard": "unmap", "cache": "writeback"}
    add(disk, "driver", name="qemu", type=kind, **written)
    add(disk, "source", file=str(file))
    add(disk, "target", dev=target, bus="virtio")
    if read_only:
        add(disk, "readonly")
        add(disk, "shareable")
    add(disk, "serial", serial)
    return disk


def _lay_over(disk: xml.Element, files: Sequence[tuple[Path, str]]) -> None:
    """What is below it is everybody's to read, and nobody's to own."""
    below = disk
    for file, kind in files:
        below = add(below, "backingStore", type="file")
        add(below, "format", type=kind)
        add(add(below, "source", file=str(file)), "seclabel", model="dac", relabel="no")
    add(below, "backingStore")
