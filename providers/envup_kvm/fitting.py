"""What a memory needs to be loaded: the QEMU that kept it, and a processor like the one that it ran on."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml


def hypervisor(libvirtd: Any) -> str:
    """QEMU and its version, as libvirt knows it. Errors: `libvirtError`."""
    return f"{libvirtd.getType()} {libvirtd.getVersion()}"


def processor(domain: xml.Element | None) -> str:
    """The host's, where the processor of a domain that is described is made like it."""
    cpu = None if domain is None else domain.find("cpu")
    if cpu is None or cpu.get("mode") != "host-passthrough":
        return ""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
