"""The writable layer of a machine on a file system of its own: a tmpfs or an ext4 image behind a loop device.

Both are mounted in the holder's namespace only. The loop device clears itself when the last mount goes.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH100, PTH101, PTH102, PTH112, PTH116

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct

from envup.namespaces import syscalls

# linux/loop.h
_LOOP_CTL_GET_FREE = 0x4C82
_LOOP_CONFIGURE = 0x4C0A
_LO_FLAGS_AUTOCLEAR = 4


def make_layers(directory: str, lower: str) -> None:
    """Make `upper` and `work` where they are missing. `upper` becomes the machine's /, so it takes the image's mode."""
    upper = f"{directory}/upper"
    if not os.path.isdir(upper):
        os.mkdir(upper)
        os.chmod(upper, stat.S_IMODE(os.stat(lower).st_mode))
    if not os.path.isdir(f"{directory}/work"):
        os.mkdir(f"{directory}/work", 0o700)


def mount_image(file: str, directory: str) -> None:
    """Mount an ext4 image."""
    device, name = _attach(file)
    try:
        syscalls.mount(name, directory, "ext4", syscalls.MS_NODEV)
    finally:
        os.close(device)


def _attach(file: str) -> tuple[int, str]:
    """A loop device over `file` that goes with its last user: its descriptor and name."""
    control = os.open("/dev/loop-control", os.O_RDWR)
    backing = os.open(file, os.O_RDWR)
    try:
        while True:
            name = f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
            device = os.open(name, os.O_RDWR)
            shown = os.fsencode(os.path.abspath(file))[-63:]
            info = struct.pack("5Q4I64s64s32s2Q", 0, 0, 0, 0, 0, 0, 0, 0, _LO_FLAGS_AUTOCLEAR, shown, b"", b"", 0, 0)
            try:
                fcntl.ioctl(device, _LOOP_CONFIGURE, struct.pack("2I", backing, 0) + info + bytes(64))
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:
                    raise
            else:
                return device, name
    finally:
        os.close(backing)
        os.close(control)
