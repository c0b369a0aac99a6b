"""The image source `tarball`: a root file system archive, a path or a URL, compressed or not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envup.image import FetchContext, Fetched, ImageSource
from envup.images import located, metadata


class Tarball(ImageSource):
    """`image: {tarball: PATH-OR-URL, sha256: …}`. The checksum is that of the file as it is; a URL needs it. What
    `env package` wrote brings the variables of its machine's image along."""

    name = "tarball"

    def key(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `located.key`."""
        return located.key(self.name, options)

    def fetch(self, options: Mapping[str, Any], archive: Path, context: FetchContext) -> Fetched:
        located.fetch(self.name, options, archive, context.work, context.emit)
        return Fetched(environment=metadata.variables(archive))
