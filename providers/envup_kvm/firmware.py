"""What a domain boots with: firmware, and the kernel of the guest kit unless its disk has a boot loader.

https://libvirt.org/formatdomain.html#operating-system-booting. libvirt finds UEFI by the descriptions that QEMU's
packages of firmware bring (docs/interop/firmware.json of QEMU).
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as xml

from envup_kvm.parts import Parts, add

VARIABLES = "nvram.fd"
"""What UEFI remembers, in the directory of the machine; libvirt makes it at the first start."""
_MACHINES = {"x86_64": "q35", "aarch64": "virt"}
_CONSOLES = {"x86_64": "ttyS0", "aarch64": "ttyAMA0"}


def machine() -> str:
    """The kind of machine that QEMU shows."""
    return _MACHINES[platform.machine()]


def wanted(options: Mapping[str, Any], *, disk: bool) -> str:
    """`bios` or `uefi`. `disk`: the machine boots a disk by itself; only on x86_64 BIOS can do that."""
    default = "uefi" if disk and platform.machine() != "x86_64" else "bios"
    return str(options.get("firmware", default))


def describe(parts: Parts) -> xml.Element:
    """The element `os`."""
    uefi = wanted(parts.options, disk=parts.seed is not None) == "uefi"
    element = xml.Element("os", {"firmware": "efi"} if uefi else {})
    add(element, "type", "hvm", arch=platform.machine(), machine=machine())
    if uefi:
        add(add(element, "firmware"), "feature", enabled="no", name="secure-boot")
        add(element, "nvram", str(parts.directory / VARIABLES))
    if parts.seed is None:
        _add_kernel(element, parts)
    return element


def _add_kernel(element: xml.Element, parts: Parts) -> None:
    for tag, file in (("kernel", parts.kit.kernel), ("initrd", parts.kit.initrd)):
        add(element, tag, str(file))
    words = [f"console={_CONSOLES[platform.machine()]}", "net.ifnames=0", "quiet", "loglevel=4", "panic=-1"]
    words.append("cryptomgr.notests")  # each cipher would be tried at each boot
    # What guards a processor against its own speculation guards a program that has none against nothing.
    words += [] if parts.accelerated else ["mitigations=off", "no_timer_check"]
    add(element, "cmdline", " ".join(words))
