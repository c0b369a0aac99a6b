"""An image source for tests of the command line: a shelf of editions, the newest of which an image is made from; an
older one where it is locked at that, as long as the shelf has it."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pluggy

from envup.errors import EnvupError
from envup.image import FetchContext, Fetched, ImageSource
from envup.model import Pin


class Edition(ImageSource):
    """Writes an archive with one file. `role` names the shelf, a directory."""

    name = "edition"

    def title(self, options: Mapping[str, Any]) -> str:
        return Path(options["role"]).name

    def require_pin(self, pin: Pin) -> None:
        if pin.facts["edition"] == "draft":
            raise EnvupError("a draft is printed once", hint="wait for the next edition")

    def fetch(self, options: Mapping[str, Any], archive: Path, context: FetchContext) -> Fetched:
        shelf = Path(options["role"])
        wanted = context.pin.facts["edition"] if context.pin else max(path.name for path in shelf.iterdir())
        if not (shelf / wanted).exists():
            raise EnvupError(f"edition {wanted} is out of print")
        content = (shelf / wanted).read_bytes()
        with tarfile.open(archive, "w") as made:
            member = tarfile.TarInfo("./edition")
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
        return Fetched(pin=Pin("", {"edition": wanted}))


@pluggy.HookimplMarker("envup")
def envup_image_source() -> type[ImageSource]:
    """The image source."""
    return Edition
