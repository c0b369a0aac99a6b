"""The pluggy hooks. One registration hook per kind of plugin returns a class; the operations live on that class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from envup.events import Event
    from envup.image import ImageSource
    from envup.provider import Provider
    from envup.provisioner import Provisioner

PROJECT = "envup"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def envup_provider() -> type[Provider]:  # type: ignore[empty-body]
    """The provider that this plugin adds."""


@hookspec
def envup_provisioner() -> type[Provisioner]:  # type: ignore[empty-body]
    """The provisioner that this plugin adds."""


@hookspec
def envup_image_source() -> type[ImageSource]:  # type: ignore[empty-body]
    """The image source that this plugin adds."""


@hookspec
def envup_event(event: Event) -> None:
    """Called with every event of a command that changes something. An exception in it is reported as a warning."""
