"""Images as disks: one file system for each digest, made once, which every machine's own disk is laid over."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from envup.errors import EnvupError
from envup.events import Emit
from envup.image import Image, unpack_image
from envup.namespaces import programs
from envup_kvm import disk_images, extra_disks, filesystems

SIZE = 32 << 30
"""Bytes that a machine may write where no limit is declared. What is not written takes no space."""
_TABLES = 60
"""One byte in so many of a file system that grows is for its tables of inodes: 256 for each 16 KiB."""
_GRAIN = 1 << 20


class Disks:
    """The disks of images below one data directory."""

    def __init__(self, data: Path) -> None:
        self.directory = data / "images"

    def path(self, digest: str) -> Path:
        """Where that of an image is, or would be."""
        name = digest.rpartition(":")[2]
        return disk_images.find(self.directory, name) or self.directory / f"{name}.ext4"

    @contextlib.contextmanager
    def use(self, image: Image, progress: Callable[[str], None], require_unused: Callable[[], None]) -> Iterator[Path]:
        """The disk of an image, made first where it is missing; `require_unused` refuses that where something lies over
        the one that is gone, as no two have their blocks at the same places. It stays while the context lasts. Errors:
        `EnvupError`."""
        path = self.path(image.digest)
        with self._lock(fcntl.LOCK_SH):
            if path.exists():
                yield path
                return
        with self._lock(fcntl.LOCK_EX):
            if not path.exists():
                require_unused()
                progress(f"turns image {image.digest[:19]} into a disk")
                self._make(image, path)
            yield path

    def admit(self, owner: tuple[int, int]) -> None:
        """Let QEMU's account (uid, gid) reach the images, and nobody else but this one. Errors: `OSError`."""
        admit(self.directory, owner)

    def _make(self, image: Image, path: Path) -> None:
        if image.archive is None:
            raise EnvupError(f"image {image.digest} was removed meanwhile", hint="run the command again")
        tree, new = path.with_suffix(".tree"), path.with_suffix(".new")
        programs.remove(*(left for kind in ("*.tree", "*.new", ".*.tree.*") for left in self.directory.glob(kind)))
        try:
            unpack_image(image.archive, tree, argv_prefix=programs.as_owner())
            filesystems.make(tree, new, journal=True)
            new.chmod(0o644)
            filesystems.rename(new, path)
        finally:
            programs.remove(tree, new)

    def forms(self) -> Sequence[tuple[str, int]]:
        """(digest, bytes) of each."""
        paths = [*self.directory.glob("*.ext4"), *disk_images.every(self.directory)]
        return [(f"sha256:{path.stem}", path.stat().st_blocks * 512) for path in sorted(paths)]

    @contextlib.contextmanager
    def removing(self, digest: str) -> Iterator[None]:
        """Remove one after the body agreed to it; nobody begins to use it meanwhile."""
        with self._lock(fcntl.LOCK_EX):
            yield
            self.path(digest).unlink(missing_ok=True)

    def obtain(self, options: Mapping[str, Any], emit: Emit, *, refresh: bool) -> Image:
        """The image that a disk image is, fetched first where it is missing or `refresh` asks for it anew. Errors:
        `EnvupError`."""
        with self._lock(fcntl.LOCK_SH):
            return disk_images.obtain(self.directory, options, emit, refresh=refresh)

    @contextlib.contextmanager
    def _lock(self, kind: int) -> Iterator[None]:
        self.directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        with (self.directory / "lock").open("w") as lock:
            fcntl.flock(lock, kind)
            yield


def admit(directory: Path, owner: tuple[int, int]) -> None:
    """Let QEMU's account (uid, gid) reach what is in a directory, and nobody else but this one. Errors: `OSError`."""
    if directory.stat().st_gid != owner[1] and os.geteuid() == 0:
        os.chown(directory, -1, owner[1])
    directory.chmod(0o710)


def lay_over(base: Path, kind: str, disk: Path, size: int) -> None:
    """Make the disk of a machine, of `size` bytes, over a file in the format `kind`. Errors: `EnvupError`."""
    line = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", kind, "-b", str(base), str(disk)]
    programs.run([*line, str(size)], "cannot make the machine's disk")
    disk.chmod(0o600)


def wanted(base: Path, space: int | None) -> int:
    """Bytes of the disk of a machine that may write `space` bytes, beside what is on the base already. A disk image is
    of that size in all. Errors: `EnvupError`."""
    if disk_images.boots(base):
        return _wanted_of_disk(disk_images.size(base), space)
    space = SIZE if space is None else space
    size = filesystems.used(base) + space + space // _TABLES
    return max(-(-size // _GRAIN) * _GRAIN, base.stat().st_size)


def _wanted_of_disk(size: int, space: int | None) -> int:
    if space is not None and space < size:
        raise EnvupError(f"resources.disk: the disk image has {size} bytes, and no machine of it can have less")
    return max(size, SIZE) if space is None else -(-space // _GRAIN) * _GRAIN


def grow(disk: Path, size: int) -> None:
    """Let the disk of a machine that does not run have `size` bytes, unless it has as many. Errors: `EnvupError`."""
    if extra_disks.virtual_size(disk) < size:
        line = ("qemu-img", "resize", "-q", "-f", "qcow2", str(disk), str(size))
        programs.run(line, "cannot grow the machine's disk")
