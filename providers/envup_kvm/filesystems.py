"""File systems made from trees of files, without mounting anything."""

from __future__ import annotations

import os
from pathlib import Path

from envup.namespaces import programs

_SPARE = 32 << 20
"""Bytes for what a file system keeps for itself."""


def make(tree: Path, image: Path, *, journal: bool, size: int | None = None) -> None:
    """An ext4 file system in the new file `image` with what is in `tree`, of `size` bytes or as small as will do.
    Errors: `EnvupError`."""
    files = [path.lstat() for path in tree.rglob("*")] if size is None else []
    needed = sum(-(-status.st_size // 4096) * 4096 for status in files)
    with image.open("wb") as stream:
        stream.truncate(size or needed + needed // 8 + len(files) * 512 + _SPARE)
    options = ["-q", "-F", "-t", "ext4", "-m", "0", "-E", "root_owner=0:0,lazy_itable_init=0,lazy_journal_init=1"]
    options += ["-N", str(len(files) + 1024)] if size is None else []
    options += [] if journal else ["-O", "^has_journal"]
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    line = (*programs.as_owner(), "mke2fs", *options, "-d", str(tree), str(image))
    programs.run(line, f"cannot make {image.name}", environment={"PATH": path})
