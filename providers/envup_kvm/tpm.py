"""The TPM of a machine. libvirt keeps its state by the machine's id, until a domain that has it is undefined."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as xml

from envup_kvm.binding import libvirt
from envup_kvm.machines import Machine, gone_is_fine, undefine
from envup_kvm.parts import Parts, add


def give(devices: xml.Element, parts: Parts) -> None:
    """Describe it, where the machine has one."""
    if parts.options.get("tpm"):
        add(add(devices, "tpm", model="tpm-crb"), "backend", type="emulator", version="2.0")


def forget(libvirtd: Any, machine: Machine, parts: Parts) -> None:
    """Have libvirt remove the state of one that the machine, which does not run, has no more. Errors:
    `libvirt.libvirtError`, `EnvupError`."""
    domain = machine.domain(libvirtd)
    if domain is None or parts.options.get("tpm"):
        return
    if xml.fromstring(domain.XMLDesc()).find("devices/tpm") is not None:
        gone_is_fine(lambda: undefine(domain, libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM))
