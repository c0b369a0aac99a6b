"""A new lock file: the images of the old one that still fit, those that are missing or asked for anew as they are now,
plugins and steps as they are now."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from envup.errors import UsageError
from envup.locking.difference import missing_images, stale_images
from envup.locking.document import Lock, LockedImage, Pair
from envup.locking.titles import plain
from envup.model import Pin


def wanted(old: Lock, now: Lock, update: Collection[str] | None = ()) -> frozenset[Pair]:
    """The images that `old` lacks, has without a pin or otherwise than `now` names them, and those with a title in
    `update`, which may end before the `@` or `#` in it; None is all. Errors: `UsageError` for one that is unknown."""
    if update is None:
        return frozenset(now.images)
    found = {*missing_images(old, now), *(now.images.keys() & stale_images(old, now).keys())}
    for title in update:
        meant = {place for place, image in now.images.items() if title in (place[1], _short(place[1], image))}
        if not meant:
            there = ", ".join(sorted({title for _, title in now.images}))
            raise UsageError(f"there is no image '{title}' in the Envfile", hint=f"there are {there}")
        found |= meant
    return frozenset(found)


def _short(title: str, image: LockedImage) -> str:
    return plain(title, image.reference).partition("@")[0]


def renewed(old: Lock, now: Lock, got: Mapping[Pair, Pin | None]) -> Lock:
    """The new lock; `got` are the pins of the wanted images."""
    unfit = stale_images(old, now)
    images = {place: image for place, image in old.images.items() if place not in unfit}
    images |= {place: LockedImage(now.images[place].reference, pin) for place, pin in got.items()}
    return Lock(images, now.plugins, now.steps, now.order)
