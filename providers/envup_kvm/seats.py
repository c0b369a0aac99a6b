"""Where the devices of a machine sit on its PCI bus.

libvirt puts each behind a port of its own, so that all of them could be pulled out. Each port costs a kernel without
acceleration a twentieth of a second and more; what stays sits on the root bus, as docs/pcie.txt of QEMU allows.
"""

from __future__ import annotations

from xml.etree import ElementTree as xml

from envup_kvm.parts import add

_FIXED = ("disk", "memballoon", "rng")
_SLOTS = (*range(0x03, 0x10), *range(0x11, 0x1A))
"""Below are a display and the ports, above is the chipset; the one between is that of `network`'s card."""
_PORTS = 2
"""For what is plugged in while the machine runs."""


def give(devices: xml.Element) -> None:
    """Give each device that stays its seat. Where there are more of them than seats, libvirt finds one."""
    channels = add(devices, "controller", type="virtio-serial", index="0")
    fixed = [channels, *(device for device in devices if device.tag in _FIXED)]
    for device, slot in zip(fixed, _SLOTS, strict=False):
        add(device, "address", type="pci", domain="0x0000", bus="0x00", slot=f"0x{slot:02x}", function="0x0")
    for index, model in enumerate(("pcie-root", *["pcie-root-port"] * _PORTS)):
        add(devices, "controller", type="pci", index=str(index), model=model)
