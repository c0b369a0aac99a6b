"""The image source `tarball`: a root file system archive, a path or a URL, compressed or not."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envup.errors import EnvupError
from envup.image import FetchContext, Fetched, ImageSource


class Tarball(ImageSource):
    """`image: {tarball: PATH-OR-URL, sha256: …}`. The checksum is that of the file as it is; a URL needs it."""

    name = "tarball"

    def key(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Size and times of a file without checksum; the checksum alone tells all others apart."""
        if options.get("sha256") or _is_url(options["tarball"]):
            return {}
        path = Path(options["tarball"])
        try:
            status = path.stat()
        except OSError as error:
            raise EnvupError(f"image tarball {path}: {error.strerror}") from error
        return {"file": [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]}

    def fetch(self, options: Mapping[str, Any], archive: Path, context: FetchContext) -> Fetched:
        from envup.images.compression import expand

        location, wanted = str(options["tarball"]), str(options.get("sha256") or "").lower().removeprefix("sha256:")
        if _is_url(location):
            from envup.images.download import download

            if not wanted:
                raise EnvupError(f"image tarball {location} needs a checksum", hint="add `sha256:` beside `tarball:`")
            path = context.work / "download"
            found = download(location, path, context.emit)
        else:
            path = Path(location)
            found = _digest(path) if wanted else ""
        if found != wanted:
            raise EnvupError(
                f"image tarball {location} does not fit its checksum",
                details=f"sha256 in the Envfile: {wanted}\nsha256 of the file:    {found}",
                hint="if the file was changed on purpose, write its new sha256 into the Envfile",
            )
        expand(path, archive)
        return Fetched()


def _is_url(location: str) -> bool:
    return location.startswith(("http://", "https://"))


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EnvupError(f"image tarball {path}: {error.strerror}") from error
