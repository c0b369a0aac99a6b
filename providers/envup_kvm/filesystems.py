"""File systems made from trees of files, without mounting anything."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

from envup.errors import EnvupError
from envup.namespaces import programs

_BLOCK = 4096
_SPARE = 32 << 20
"""Bytes for what a file system keeps for itself."""
_INODES = 1024
"""That are free in one that is as small as will do."""
_RATIO = 16384
"""Bytes for each inode at least, as mke2fs(8) has it by default: it stays the same when the file system grows."""
_JOURNAL = 32
"""MiB: as much as one has that was large from the start."""
_SUPERBLOCK, _BLOCKS, _FREE, _BLOCKS_HIGH, _FREE_HIGH = 1024, 0x4, 0xC, 0x150, 0x158
"""Offsets in bytes, of the super block and in it; the kernel's Documentation/filesystems/ext4/super.rst."""


def make(tree: Path, image: Path, *, journal: bool) -> None:
    """An ext4 file system in the new file `image` with what is in `tree`, as small as will do; it can grow while it is
    mounted. Errors: `EnvupError`."""
    sizes = _sizes(tree)
    needed = sum(-(-size // _BLOCK) * _BLOCK for size in sizes)
    log = _JOURNAL << 20 if journal else 0
    size = needed + needed // 8 + len(sizes) * 512 + log + _SPARE
    with image.open("wb") as stream:
        stream.truncate(size)
    options = ["-q", "-F", "-t", "ext4", "-T", "default", "-b", str(_BLOCK), "-I", "256", "-m", "0"]
    options += [
        "-E",
        "root_owner=0:0,lazy_itable_init=0,lazy_journal_init=1",
        "-N",
        str(max(len(sizes) + _INODES, size // _RATIO)),
    ]
    options += ["-J", f"size={_JOURNAL}"] if journal else ["-O", "^has_journal"]
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    line = (*programs.as_owner(), "mke2fs", *options, "-d", str(tree), str(image))
    programs.run(line, f"cannot make {image.name}", environment={"PATH": path})


def used(image: Path) -> int:
    """Bytes of a file system that are not free."""
    with image.open("rb") as file:
        file.seek(_SUPERBLOCK)
        block = file.read(1024)

    def number(low: int, high: int) -> int:
        return int(struct.unpack_from("<I", block, low)[0] | struct.unpack_from("<I", block, high)[0] << 32)

    return (number(_BLOCKS, _BLOCKS_HIGH) - number(_FREE, _FREE_HIGH)) * _BLOCK


def _sizes(tree: Path) -> list[int]:
    """Of everything in a tree, whoever owns it. Errors: `EnvupError`."""
    line = (*programs.as_owner(), "find", str(tree), "-printf", "%s\\n")
    done = subprocess.run(line, check=False, capture_output=True, text=True)
    if done.returncode:
        raise EnvupError(f"cannot read {tree}", details=done.stderr.strip())
    return [int(size) for size in done.stdout.split()]


def rename(new: Path, path: Path) -> None:
    """Give a file its name once all of it is on the disk. Errors: `OSError`."""
    _sync(new)
    new.rename(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
