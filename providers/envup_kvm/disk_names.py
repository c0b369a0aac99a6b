"""Names of disks by their serial numbers, in a machine that has no udev to give them."""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH103, PTH110, PTH123, PTH208, PTH211

from __future__ import annotations

import os

_PLACE = "/dev/disk/by-id"


def make() -> None:
    """Links such as udev makes for disks of virtio: 60-persistent-storage.rules of systemd."""
    os.makedirs(_PLACE, exist_ok=True)
    for disk in os.listdir("/sys/block"):
        if os.path.exists(f"/sys/block/{disk}/serial"):
            with open(f"/sys/block/{disk}/serial", encoding="ascii", errors="replace") as file:
                os.symlink(f"../../{disk}", f"{_PLACE}/virtio-{file.read().strip()}")
