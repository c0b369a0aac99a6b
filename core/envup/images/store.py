"""The image store: hub forms by their digest, and an index from references to digests.

Below the data directory's `images/`: `blobs/sha256/<hex>.tar`, `refs/<key>.json`, `locks/` (one a reference, held while
it is fetched), `work/` (half-made images, each owned by a locked file, so that those of a dead process are told apart)
and `salt`, which keys the digests of what came into a reference from outside the Envfile.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from envup import spec as specs
from envup.errors import EnvupError
from envup.events import Emit, Event
from envup.files import write_atomically
from envup.home import Home
from envup.image import FetchContext, Image, ImageSource
from envup.images import locks, pinning
from envup.images.index import Entry, Index, key_of
from envup.model import ImageReference
from envup.value import Value, replace

HOST = Image("host", None)
"""The one image without an archive."""
_SALT = "salt"


class Sources(Protocol):
    """Where the store gets the class of an image source; the plugin host is one."""

    def image_source(self, name: str) -> type[ImageSource]:
        """The class of that name. Errors: `EnvupError`."""


class StoredImage(Value):
    """An image as `env images` lists it. `references` are in words and may be none; `size` is bytes; times are seconds
    since the epoch, `last_used` that of its latest use."""

    digest: str
    references: tuple[str, ...]
    size: int
    created: float
    last_used: float
    architecture: str


class Store:
    """The store of one user. One object serves several threads; any number of processes share the directory.

    An image that `ensure` returned is not freed by others for as long as this object's process lives.
    """

    def __init__(self, home: Home, host: Sources) -> None:
        self._root = home.data / "images"
        self._host = host
        self._index = Index(self._root / "refs")
        self._leases: dict[str, int] = {}

    @cached_property
    def _made(self) -> Path:
        """The directory of the store, with all its parts."""
        for part in ("blobs", "blobs/sha256", "refs", "locks"):
            (self._root / part).mkdir(mode=0o700, parents=True, exist_ok=True)
        (self._root / "work").mkdir(mode=0o711, exist_ok=True)  # apt's own user works below it
        if not (self._root / _SALT).exists():
            with locks.exclusive(self._root / "locks" / "store"):
                if not (self._root / _SALT).exists():
                    write_atomically(self._root / _SALT, os.urandom(16).hex().encode(), mode=0o600)
        return self._root

    def salt(self) -> str:
        """What keys digests of this user's secrets, made when it is first asked for. Errors: `EnvupError`."""
        with _told("cannot store the image"):
            return (self._made / _SALT).read_text()

    def find(self, reference: ImageReference) -> Image | None:
        """The image if it is in the store; fetches nothing, changes nothing. Errors: `EnvupError` when a file that the
        reference names is missing."""
        return HOST if reference.source == "host" else self._find(reference)

    def ensure(
        self, reference: ImageReference, emit: Emit, *, action: str = "image", machine: str = "", refresh: bool = False
    ) -> Image:
        """The image, fetched first where the store lacks it or `refresh` asks for it anew. Of several calls at once for
        one reference, in whatever process, one fetches and the others wait.

        Errors: `EnvupError` of the source, of a bad archive or of a full disk, with nothing left; `InterruptedByUser`.
        """
        if reference.source == "host":
            return HOST
        with _told("cannot store the image"):
            root = self._made
        key = self._key(reference)
        if not refresh and (image := self._use(reference)):
            return image

        def stamped(event: Event) -> None:
            emit(replace(event, action=action, machine=machine))

        def waiting() -> None:
            stamped(Event("progress", text="waiting for another command that fetches this image"))

        with _told("cannot store the image"), locks.exclusive(root / "locks" / f"{key}.lock", waiting):
            if not refresh and (image := self._use(reference)):
                return image
            locks.sweep(self._root / "work")
            with locks.workspace(self._root / "work") as work:
                self._fetch(key, reference, work, stamped)
            if image := self._use(reference):
                return image
        raise EnvupError("the image was removed while it was fetched", hint="run the command again")

    def list(self) -> tuple[StoredImage, ...]:
        """Every image in the store, the latest used first, those without a reference too."""
        return tuple(sorted(map(self._describe, self._blobs()), key=lambda image: -image.last_used))

    def remove(self, digest: str) -> None:
        """Remove an image and its references; succeeds when it is gone. Errors: `EnvupError` when a running command
        uses it."""
        if not self._free(digest):
            raise EnvupError(f"image {digest} is used by another command that runs now", hint="try again afterwards")

    def prune(self, in_use: set[str]) -> Sequence[tuple[str, int]]:
        """Remove every image whose digest is not in `in_use` and that no running command uses, and the remains of
        commands that died. Returns (digest, bytes) of what was freed."""
        with _told("cannot prune the image store"):
            locks.sweep(self._made / "work")
            sizes = {f"sha256:{blob.stem}": blob.stat().st_size for blob in self._blobs()}
            freed = [(digest, size) for digest, size in sizes.items() if digest not in in_use and self._free(digest)]
            for key, entry in self._index.entries():
                if entry is None or not self._blob(entry.digest).exists():
                    self._index.remove(key)
            self._drop_locks()
        return freed

    def sweep(self) -> None:
        """Remove what commands that died had half made; does nothing when there is nothing."""
        with _told("cannot clear the image store"):
            locks.sweep(self._made / "work")

    def _drop_locks(self) -> None:
        for lock in (self._root / "locks").glob("*.lock"):
            with locks.claimed(lock) as free:
                if free:
                    lock.unlink(missing_ok=True)

    def _key(self, reference: ImageReference) -> str:
        distinction = self._host.image_source(reference.source)().key(reference.options)
        if reference.pin:
            distinction = {**distinction, "locked": reference.pin.digest}
        return key_of(reference.source, self._kept(reference), distinction)

    def _kept(self, reference: ImageReference) -> Mapping[str, Any]:
        """The options as they may be stored. Before the first image there is no salt, and nothing to be found."""
        salt = self._root / _SALT
        known = salt.read_text() if reference.secrets and salt.exists() else ""
        options: Mapping[str, Any] = specs.kept(reference.options, reference.secrets, known)
        return options

    def _find(self, reference: ImageReference) -> Image | None:
        """The image, also where the reference as such stands for what it is locked at."""
        image = self._stored(self._key(reference))
        if image is not None or reference.pin is None:
            return image
        image = self._stored(self._key(replace(reference, pin=None)))
        return image if image and image.locked.digest == reference.pin.digest else None

    def _stored(self, key: str) -> Image | None:
        entry = self._index.read(key)
        if entry is None:
            return None
        blob = self._blob(entry.digest)
        try:
            whole = blob.stat().st_size == entry.size
        except FileNotFoundError:
            return None
        return _image(entry, blob) if whole else None

    def _use(self, reference: ImageReference) -> Image | None:
        """The image if it is there, kept from being freed from now on."""
        image = self._find(reference)
        if image is None or image.archive is None:
            return None
        if image.digest not in self._leases:
            lease = locks.lease(image.archive)
            if lease is None:
                return None
            if self._leases.setdefault(image.digest, lease) != lease:
                os.close(lease)
        self._note_use(reference)
        return image

    def _note_use(self, reference: ImageReference) -> None:
        """What is locked stays to be found when the reference as such comes to stand for another image."""
        key = self._key(reference)
        if reference.pin and not self._index.read(key):
            entry = self._index.read(self._key(replace(reference, pin=None)))
            if entry and entry.locked == reference.pin.digest:
                self._index.write(key, entry)
        self._index.touch(key)

    def _fetch(self, key: str, reference: ImageReference, work: Path, emit: Emit) -> None:
        from envup.images import archive as archives

        archive, scratch = work / "image.tar", work / "work"
        scratch.mkdir(mode=0o711)
        source = self._host.image_source(reference.source)()
        fetched = source.fetch(reference.options, archive, FetchContext(scratch, emit, reference.pin))
        emit(Event("progress", text="checking the image"))
        contents = archives.inspect(archive)
        digest, size = _seal(archive)
        pin = replace(fetched.pin, digest=fetched.pin.digest or digest)
        pinning.require(reference, pin)
        now = time.time()
        architecture = fetched.architecture or contents.architecture
        options, environment = dict(self._kept(reference)), fetched.environment
        entry = Entry(reference.source, options, digest, architecture, size, now, now, environment, pin)
        blob = self._blob(digest)
        with locks.exclusive(self._root / "locks" / "store"):
            if not (blob.exists() and blob.stat().st_size == size):
                archive.rename(blob)
            self._index.write(key, entry)

    def _free(self, digest: str) -> bool:
        """Remove a blob and its references unless a command uses it."""
        blob = self._blob(digest)
        with locks.exclusive(self._made / "locks" / "store"), locks.claimed(blob) as claim:
            if not claim:
                return False
            for key, entry in self._index.entries():
                if entry and entry.digest == digest:
                    self._index.remove(key)
            blob.unlink(missing_ok=True)
        return True

    def _blob(self, digest: str) -> Path:
        return self._root / "blobs" / "sha256" / f"{digest.removeprefix('sha256:')}.tar"

    def _describe(self, blob: Path) -> StoredImage:
        digest, status = f"sha256:{blob.stem}", blob.stat()
        entries = [entry for _, entry in self._index.entries() if entry and entry.digest == digest]
        references = {key_of(entry.source, entry.options, {}): entry for entry in entries}
        return StoredImage(
            digest,
            tuple(specs.image_in_words({"source": entry.source, **entry.options}) for entry in references.values()),
            status.st_size,
            min((entry.created for entry in entries), default=status.st_mtime),
            max((entry.last_used for entry in entries), default=status.st_mtime),
            next((entry.architecture for entry in entries), ""),
        )

    def _blobs(self) -> tuple[Path, ...]:
        return tuple((self._root / "blobs" / "sha256").glob("*.tar"))


def _image(entry: Entry, blob: Path) -> Image:
    return Image(entry.digest, blob, entry.architecture, entry.environment, pin=entry.pin)


def _seal(archive: Path) -> tuple[str, int]:
    """Make a fetched archive readable for all and safe on the disk; its digest and size."""
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fchmod(file.fileno(), 0o644)
        os.fsync(file.fileno())
        return f"sha256:{digest}", os.fstat(file.fileno()).st_size


@contextlib.contextmanager
def _told(brief: str) -> Iterator[None]:
    """Turns what the operating system refuses into an error for the user."""
    try:
        yield
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise EnvupError(
            f"{brief}: {place}{error.strerror or error}", hint="free some space on that disk" if full else ""
        ) from error
