"""The image source `dockerfile`: what a Docker engine builds, for every provider."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from envup.image import ImageSource


@pluggy.HookimplMarker("envup")
def envup_image_source() -> type[ImageSource]:
    """The source's class."""
    from envup_docker.sources import DockerfileSource

    return DockerfileSource
