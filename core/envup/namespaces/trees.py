"""Unpacked images: one directory for each digest, made once and shared by every machine as its lower layer."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from envup.errors import EnvupError
from envup.image import Image, unpack_image
from envup.namespaces import programs

HOST = "host"
"""Digest of the image that is this very system."""


class Trees:
    """The trees below one data directory."""

    def __init__(self, data: Path) -> None:
        self.directory = data / "images"

    def path(self, digest: str) -> Path:
        """Where the tree of an image is, or would be."""
        return Path("/") if digest == HOST else self.directory / digest.rpartition(":")[2]

    @contextlib.contextmanager
    def use(self, image: Image) -> Iterator[Path]:
        """The tree of an image, unpacked first where it is missing. It stays while the context lasts."""
        tree = self.path(image.digest)
        if image.archive is None:
            yield tree
            return
        with self._lock(image.digest, fcntl.LOCK_SH):
            if tree.is_dir():
                yield tree
                return
        with self._lock(image.digest, fcntl.LOCK_EX):
            if not tree.is_dir():
                self._unpack(image.archive, tree)
            yield tree

    def _unpack(self, archive: Path, tree: Path) -> None:
        programs.remove(*self._remains(tree))
        unpack_image(archive, tree, argv_prefix=programs.as_owner())
        size = archive.stat().st_size
        (self.directory / f"{tree.name}.size").write_text(f"{size}\n", encoding="ascii")

    def _remains(self, tree: Path) -> list[Path]:
        """What commands that died have unpacked of an image; its lock is held."""
        return [path for path in self.directory.glob(f".{tree.name}.*") if path.suffix != ".lock"]

    def sweep(self) -> None:
        """Remove what commands that died have unpacked of any image; what another command unpacks now stays."""
        if not self.directory.is_dir():
            return
        for digest in {path.name.split(".")[1] for path in self.directory.glob(".*.*") if path.suffix != ".lock"}:
            tree = self.path(digest)
            with contextlib.suppress(BlockingIOError), self._lock(digest, fcntl.LOCK_EX | fcntl.LOCK_NB) as lock:
                programs.remove(*self._remains(tree))
                if not tree.exists():
                    lock.unlink()

    def forms(self) -> Sequence[tuple[str, int]]:
        """(digest, bytes) of each tree, half-made ones included; the bytes are those of the archive that it came from,
        0 where it is not whole."""
        if not self.directory.is_dir():
            return ()
        names = {path.name.lstrip(".").partition(".")[0] for path in self.directory.iterdir() if path.is_dir()}
        sizes = {name: self.directory / f"{name}.size" for name in sorted(names)}
        return [(f"sha256:{name}", int(size.read_text()) if size.exists() else 0) for name, size in sizes.items()]

    @contextlib.contextmanager
    def removing(self, digest: str) -> Iterator[None]:
        """Remove a tree after the body agreed to it; nobody begins to use it meanwhile."""
        tree = self.path(digest)
        if digest == HOST or not self.directory.is_dir():
            yield
            return
        with self._lock(digest, fcntl.LOCK_EX) as lock:
            yield
            programs.remove(tree, tree.with_name(f"{tree.name}.size"), *self._remains(tree))
            lock.unlink()

    @contextlib.contextmanager
    def _lock(self, digest: str, kind: int) -> Iterator[Path]:
        path = self.directory / f".{digest.rpartition(':')[2]}.lock"
        descriptor = self._open_lock(path, kind)
        try:
            yield path
        finally:
            os.close(descriptor)

    def _open_lock(self, path: Path, kind: int) -> int:
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            while True:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                fcntl.flock(descriptor, kind)
                if _is_same(descriptor, path):
                    return descriptor
                os.close(descriptor)
        except BlockingIOError:
            raise
        except OSError as error:
            raise EnvupError(f"cannot lock {path}: {error.strerror}") from error


def _is_same(descriptor: int, path: Path) -> bool:
    """Whether the locked file is still the one of that name: the one who removed an image took its lock file away."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
