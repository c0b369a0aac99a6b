"""Marks of overlayfs in its upper directories (Documentation/filesystems/overlayfs.rst)."""

from __future__ import annotations

import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os


def is_in_first_namespace() -> bool:
    """Whether the ids of this process are the host's, so that overlayfs may keep its marks as `trusted` attributes."""
    with open("/proc/self/uid_map", encoding="ascii") as file:  # noqa: PTH123
        return file.read().split() == ["0", "0", "4294967295"]


def opaque() -> str:
    """The attribute, `y`, of directories that hide what is below. The other one is of an overlay that a program of the
    machine has made."""
    return f"{'trusted' if is_in_first_namespace() else 'user'}.overlay.opaque"


def is_whiteout(status: os.stat_result) -> bool:
    """Whether an entry stands for none, and hides what is below."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
