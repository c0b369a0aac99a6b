"""A machine as libvirt takes it: the description of a domain.

Elements are those of https://libvirt.org/formatdomain.html.
"""

from __future__ import annotations

import os
import platform
from xml.etree import ElementTree as xml

from envup.provider import MachineSpec
from envup_kvm import devices, domain_labels, firmware, shares
from envup_kvm.parts import Parts, add

DEFAULT_MEMORY = 512 << 20
"""Bytes, where no limit is declared: a virtual machine has as much as it was given."""
LEAST_MEMORY = 160 << 20
"""Bytes; a Debian kernel with the agent starts in no less."""
MOST_DEFAULT_CPUS = 4
_PLUGGED = ("x86_64",)
"""Where QEMU plugs processors in while a machine runs."""


def describe(spec: MachineSpec, parts: Parts) -> str:
    """The whole description."""
    domain = xml.Element("domain", type="kvm" if parts.accelerated else "qemu")
    for tag, text in (("name", parts.name), ("uuid", parts.uuid)):
        add(domain, tag, text)
    domain.append(domain_labels.metadata(parts.labels, str(parts.directory)))
    add(domain, "memory", str(memory(spec)), unit="KiB")
    _add_cpus(domain, cpus(spec))
    if parts.shares is not None:
        domain.append(shares.memory())
    domain.append(firmware.describe(parts))
    features = add(domain, "features")
    add(features, "acpi")
    domain.append(_cpu(parts))
    for event, action in (("poweroff", "destroy"), ("reboot", "restart"), ("crash", "destroy")):
        add(domain, f"on_{event}", action)
    domain.append(devices.describe(parts))
    if parts.card is not None and parts.card.tag != "interface":
        domain.append(parts.card)
    return xml.tostring(domain, encoding="unicode")


def memory(spec: MachineSpec) -> int:
    """KiB that the machine has, in whole MiB, as libvirt and the balloon would round them."""
    declared = spec.resources.memory or DEFAULT_MEMORY
    return -(-declared >> 20) << 10


def cpus(spec: MachineSpec) -> int:
    """How many processors the machine has."""
    declared = spec.resources.cpus
    return min(os.cpu_count() or 1, MOST_DEFAULT_CPUS) if declared is None else max(1, int(declared))


def _add_cpus(domain: xml.Element, count: int) -> None:
    """Those that the machine has, and where some can be plugged in while it runs, room for as many as the host has."""
    most = max(count, os.cpu_count() or 1, MOST_DEFAULT_CPUS) if platform.machine() in _PLUGGED else count
    add(domain, "vcpu", str(most), current=str(count))


def _cpu(parts: Parts) -> xml.Element:
    """A model by its name, or all that there is."""
    model = parts.options.get("cpu")
    if model is None:
        return xml.Element("cpu", mode="host-passthrough" if parts.accelerated else "maximum")
    cpu = xml.Element("cpu", mode="custom", match="exact", check="partial")
    add(cpu, "model", model, fallback="forbid")
    return cpu
