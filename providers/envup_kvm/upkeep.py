"""What the host asks of a machine for the machine's own sake: its clock after it stood still, the size of its root file
system after its disk grew."""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH123

from __future__ import annotations

import fcntl
import os
import struct
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

VERBS = ("wake", "grow")
_FACTS = "/run/envup/kit/facts/machine.json"
_RESIZE = 0x40086610
"""EXT4_IOC_RESIZE_FS of the kernel's fs/ext4/ext4.h, with the number of blocks."""
_SECTOR = 512


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """What a request is answered, `error` where it failed. `wake` sets the clock to `time`, nanoseconds since the
    epoch, and tells what the machine was told when it booted; `grow` has the root file system fill its disk."""
    try:
        if request["verb"] == "wake":
            time.clock_settime_ns(time.CLOCK_REALTIME, request["time"])
            with open(_FACTS, encoding="utf-8", errors="surrogateescape") as file:
                return {"facts": file.read()}
        return {"size": grow()}
    except OSError as error:
        return {"error": error.strerror or str(error)}


def grow() -> int:
    """Its bytes afterwards; one that fills its disk already is left alone. Errors: `OSError`."""
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        status = os.fstatvfs(root)
        device = os.fstat(root).st_dev
        with open(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/size", encoding="ascii") as file:
            blocks = int(file.read()) * _SECTOR // status.f_frsize
        fcntl.ioctl(root, _RESIZE, struct.pack("=Q", blocks))
        return os.fstatvfs(root).f_blocks * status.f_frsize
    finally:
        os.close(root)
