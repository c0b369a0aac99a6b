"""The contract of an image source, and an image as providers receive it.

The hub form of an image is an uncompressed root file system tar, known by the SHA-256 of its bytes (`sha256:…`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from envup.events import Emit
from envup.model import HostCode, Pin
from envup.value import NOTHING, Value


class Image(Value):
    """A root file system to make machines from. `archive` is the hub form. It is None for the image `host`, whose
    `digest` is `host`, and for one that its provider keeps itself (`OwnImages`). `architecture` is Debian's name of it
    (`amd64`, `i386`, `arm64`) or empty when not known; `environment` holds the variables that the image declares.
    `layer` is the key of the provider's layer (`Layers`) above it that a machine is to begin with, or empty. `pin` is
    what a lock file says of it; None leaves that to the digest."""

    digest: str
    archive: Path | None
    architecture: str = ""
    environment: Mapping[str, str] = NOTHING
    layer: str = ""
    pin: Pin | None = None

    @property
    def locked(self) -> Pin:
        """What a lock file says of it."""
        return self.pin or Pin(self.digest)


class Fetched(Value):
    """What a source learned of the image that it wrote; see `Image`. The digest of `pin` is empty where that of the hub
    form is the same on every host."""

    architecture: str = ""
    environment: Mapping[str, str] = NOTHING
    pin: Pin = Pin("")


class FetchContext(Value):
    """What a source works with. `work` is an empty directory that is removed afterwards, whatever happens; `emit` takes
    progress and output under the action that the engine runs. `pin` is what the image is locked at: what is fetched is
    refused where it is not that."""

    work: Path
    emit: Emit
    pin: Pin | None = None


class ImageSource(ABC):
    """Turns a reference of the Envfile into the hub form."""

    name: ClassVar[str]
    lockable: ClassVar[bool] = True
    """Whether a reference can be got again as it was; the lock file has no digest of what cannot."""

    def title(self, options: Mapping[str, Any]) -> str:
        """What a lock file calls an image: the reference, and what else of the host decides what that stands for (an
        architecture). Paths within the project begin with `./`."""
        return str(options.get(self.name, self.name))

    def key(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """What tells two references apart beside the options themselves (a local file's content), so that the store
        can answer without fetching. Cheap. Errors: `EnvupError` when what is referred to is missing."""
        return {}

    def host_code(self, options: Mapping[str, Any]) -> HostCode | None:
        """What fetching runs on the host that the Envfile or a file of the project decides, None where it runs nothing
        such. The user is asked before, and again when the options or what is in `reads` has changed. Runs nothing."""
        return None

    def require_pin(self, pin: Pin) -> None:  # noqa: B027 - most pins say it
        """Refuse to lock an image at a pin that `fetch` returned and cannot get again. Errors: `EnvupError` with the
        remedy."""

    @abstractmethod
    def fetch(self, options: Mapping[str, Any], archive: Path, context: FetchContext) -> Fetched:
        """Write the hub form to `archive` and return what is known of it. On failure nothing that it leaves behind is
        used. Errors: `EnvupError` with a remedy when a tool is missing, the network refuses, or
        content does not fit its checksum."""


def unpack_image(archive: Path, target: Path, *, argv_prefix: tuple[str, ...] = ()) -> None:
    """Unpack a hub form into the new directory `target`, which appears whole or not at all; for providers.

    `argv_prefix` is put before each program that writes, such as one that enters a user namespace. Nothing is written
    outside `target`, and what is below /dev is left out. Errors: `EnvupError`, with nothing left.
    """
    from envup.images.archive import unpack

    unpack(archive, target, argv_prefix=argv_prefix)


def file_key(source: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """`ImageSource.key` of a source whose option `source` is the path or URL of a file."""
    from envup.images import located

    return located.key(source, options)


def fetch_file(source: str, options: Mapping[str, Any], target: Path, context: FetchContext) -> None:
    """Write the file that the option `source` names, a path or a URL, to `target`, decompressed; for what is no root
    file system as well. The option `sha256` is that of the file as it is, and a URL needs it. Errors: `EnvupError`,
    `OSError`."""
    from envup.images import located

    located.fetch(source, options, target, context.work, context.emit)
