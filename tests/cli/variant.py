"""An image source for tests of the command line: its images are one file system, and differ in the variable ROLE."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pluggy

from envup.image import FetchContext, Fetched, ImageSource


class Variant(ImageSource):
    """Writes an archive with one directory."""

    name = "variant"

    def fetch(self, options: Mapping[str, Any], archive: Path, context: FetchContext) -> Fetched:
        with tarfile.open(archive, "w") as made:
            member = tarfile.TarInfo("./etc")
            member.type = tarfile.DIRTYPE
            made.addfile(member)
        return Fetched("", {"ROLE": options["role"]})


@pluggy.HookimplMarker("envup")
def envup_image_source() -> type[ImageSource]:
    """The image source."""
    return Variant
