"""Which processes of this host are in a PID namespace."""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH116

from __future__ import annotations

import fcntl
import os

_NS_GET_PARENT = 0xB702
"""ioctl_ns(2)."""


def namespace(path: str) -> int | None:
    """The inode of a namespace, by a link to it in /proc, which tells it from all others; None for that of a process
    that is gone, or that is none of this user's."""
    try:
        return os.stat(path).st_ino
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


def is_below(process: int, wanted: int) -> bool:
    """Whether a process is in the PID namespace with that inode, or in one that was made in it."""
    try:
        descriptor = os.open(f"/proc/{process}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    while os.fstat(descriptor).st_ino != wanted:
        child = descriptor
        try:
            descriptor = fcntl.ioctl(child, _NS_GET_PARENT)
        except PermissionError:  # its parent is none that this process could see
            return False
        finally:
            os.close(child)
    os.close(descriptor)
    return True
