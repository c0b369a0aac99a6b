"""A file that an Envfile names by a path or a URL, with its checksum."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envup.errors import EnvupError
from envup.events import Emit


def key(source: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Size and times of a file without checksum; the checksum alone tells all others apart. `source` is the key of the
    location. Errors: `EnvupError` for a file that is missing."""
    if options.get("sha256") or _is_url(options[source]):
        return {}
    path = Path(options[source])
    try:
        status = path.stat()
    except OSError as error:
        raise EnvupError(f"image {source} {path}: {error.strerror}") from error
    return {"file": [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]}


def fetch(source: str, options: Mapping[str, Any], target: Path, work: Path, emit: Emit) -> None:
    """Write the file to `target`, decompressed. The checksum is that of the file as it is; a URL needs it. `work` is a
    directory for a download. Errors: `EnvupError`, `OSError`."""
    from envup.images.compression import expand

    location, wanted = str(options[source]), checksum(options)
    if _is_url(location):
        from envup.images.download import download

        if not wanted:
            raise EnvupError(f"image {source} {location} needs a checksum", hint=f"add `sha256:` beside `{source}:`")
        path = work / "download"
        found = download(location, path, emit)
    else:
        path = Path(location)
        found = _digest(source, path) if wanted else ""
    if found != wanted:
        raise EnvupError(
            f"image {source} {location} does not fit its checksum",
            details=f"sha256 in the Envfile: {wanted}\nsha256 of the file:    {found}",
            hint="if the file was changed on purpose, write its new sha256 into the Envfile",
        )
    expand(path, target)


def checksum(options: Mapping[str, Any]) -> str:
    """The declared one in 64 digits, or nothing."""
    return str(options.get("sha256") or "").lower().removeprefix("sha256:")


def _is_url(location: str) -> bool:
    return location.startswith(("http://", "https://"))


def _digest(source: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EnvupError(f"image {source} {path}: {error.strerror}") from error
