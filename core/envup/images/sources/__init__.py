"""The image sources that come with envup, by name; each module is imported when an Envfile uses it."""

from __future__ import annotations

SOURCES: dict[str, tuple[str, str]] = {
    "debootstrap": ("envup.images.sources.debootstrap", "Debootstrap"),
    "directory": ("envup.images.sources.directory", "Directory"),
    "host": ("envup.images.sources.host", "Host"),
    "tarball": ("envup.images.sources.tarball", "Tarball"),
}
"""Name to (module, class)."""
