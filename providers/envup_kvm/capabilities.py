"""What a libvirt and its QEMU can do, asked for only where a machine needs more than every one has."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from typing import Any
from xml.etree import ElementTree as xml

from envup.provider import MachineSpec, options_of
from envup_kvm import connection, firmware


def reasons(spec: MachineSpec, connect: Callable[[], Any]) -> Iterator[str]:
    """Why firmware, processor or TPM that a machine asks for cannot be had there. Errors: `EnvupError`."""
    options = options_of(spec, "kvm")
    boot = firmware.wanted(options, disk=spec.image.source == "disk")
    if not ({"cpu", "tpm"} & options.keys() or boot == "uefi"):
        return
    with connection.telling("libvirt does not say what it can do"):
        found = xml.fromstring(
            connect().getDomainCapabilities(None, platform.machine(), firmware.machine(), "qemu")
        )  # https://libvirt.org/formatdomaincaps.html
    if boot == "uefi" and "efi" not in _values(found, "os/enum[@name='firmware']/value"):
        yield "kvm.firmware: libvirt finds no UEFI; install the package ovmf (qemu-efi-aarch64 on arm64)"
    if options.get("tpm") and "emulator" not in _values(found, "devices/tpm/enum[@name='backendModel']/value"):
        yield "kvm.tpm: the program swtpm is missing; install the packages swtpm and swtpm-tools"
    if (model := options.get("cpu")) and model not in _values(found, "cpu/mode[@name='custom']/model"):
        yield f"kvm.cpu: QEMU has no processor {model}; `virsh domcapabilities` lists those that it has"


def _values(found: xml.Element, path: str) -> set[str | None]:
    return {element.text for element in found.findall(path)}
