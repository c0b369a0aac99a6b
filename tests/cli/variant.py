"""An image source for tests of the command line: its images are one file system, and differ in the variable ROLE. It
prints its arguments in pieces, and fails when one of them is `fail`."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pluggy

from envup.errors import EnvupError
from envup.events import Event
from envup.image import FetchContext, Fetched, ImageSource


class Variant(ImageSource):
    """Writes an archive with one directory."""

    name = "variant"

    def fetch(self, options: Mapping[str, Any], archive: Path, context: FetchContext) -> Fetched:
        for argument in options.get("args", {}).values():
            context.emit(Event("progress", text=f"with {argument}"))
            for text in ("--arg ", argument[:3], argument[3:], "\n"):
                context.emit(Event("output", text=text))
        if "fail" in options.get("args", {}):
            raise EnvupError("it failed", details=str(options["args"]))
        with tarfile.open(archive, "w") as made:
            member = tarfile.TarInfo("./etc")
            member.type = tarfile.DIRTYPE
            made.addfile(member)
        return Fetched("", {"ROLE": options["role"]})


@pluggy.HookimplMarker("envup")
def envup_image_source() -> type[ImageSource]:
    """The image source."""
    return Variant
