"""The provider `docker` and the image source of that name: machines as containers of a Docker engine, and its images
for every provider."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from envup.image import ImageSource
    from envup.provider import Provider


@pluggy.HookimplMarker("envup")
def envup_provider() -> type[Provider]:
    """The provider's class."""
    from envup_docker.provider import DockerProvider

    return DockerProvider


@pluggy.HookimplMarker("envup")
def envup_image_source() -> type[ImageSource]:
    """The source's class."""
    from envup_docker.sources import DockerSource

    return DockerSource
