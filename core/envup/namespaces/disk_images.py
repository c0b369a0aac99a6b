"""Making and growing the ext4 images that `disk` mounts."""

from __future__ import annotations

import os
from pathlib import Path

from envup.namespaces import programs


def make_image(file: Path, size: int) -> None:
    """Make a sparse ext4 image of `size` bytes. Errors: `EnvupError`."""
    with file.open("wb") as stream:
        stream.truncate(size)
    extended = "lazy_itable_init=1,lazy_journal_init=1,nodiscard"
    command = ("mkfs.ext4", "-q", "-F", "-m", "0", "-E", extended, str(file))
    _run_tool(command, f"cannot make a disk of {size >> 20} MiB")


def grow_image(file: Path, size: int) -> None:
    """Let an image that is not in use have `size` bytes, if that is more than it has. Errors: `EnvupError`."""
    if file.stat().st_size >= size:
        return
    failure = f"cannot grow a disk to {size >> 20} MiB"
    _run_tool(("e2fsck", "-f", "-y", str(file)), failure, fine=(0, 1))
    os.truncate(file, size)
    _run_tool(("resize2fs", str(file)), failure)


def _run_tool(command: tuple[str, ...], failure: str, *, fine: tuple[int, ...] = (0,)) -> None:
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    programs.run(command, failure, environment={"PATH": path}, fine=fine)
