"""Titles of images in a lock file: as their source says, and where several would have one, with a digest of how the
Envfile names them. An image keeps the title that it is locked under, whatever others come and go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from envup.locking.document import Lock, Pair

_SHORT = 8
Named = tuple[str, str, str]
"""Source, title as that says it, and reference of an image."""


def titles(images: Iterable[Named], lock: Lock) -> Mapping[Named, str]:
    """Of each image of an Envfile that in the lock file. Of those that are not locked, one that no other image of that
    name is beside has it plain."""
    images = frozenset(images)
    found = {image: title for image in images for title in _locked(image, lock)}
    taken = {(source, found[source, title, reference]) for source, title, reference in found}
    new: dict[Pair, list[Named]] = {}
    for image in images - found.keys():
        new.setdefault(image[:2], []).append(image)
    for place, beside in new.items():
        is_plain = len(beside) == 1 and place not in taken
        found |= {image: image[1] if is_plain else _apart(image) for image in beside}
    return found


def plain(title: str, reference: str) -> str:
    """A title of a lock file as the source of the image says it."""
    return title.removesuffix(_mark(reference))


def _locked(image: Named, lock: Lock) -> list[str]:
    """The title that an image is locked under, if it is."""
    source, title, reference = image
    there = [one for one in (title, _apart(image)) if (source, one) in lock.images]
    return [one for one in there if lock.images[source, one].reference == reference][:1]


def _apart(image: Named) -> str:
    return f"{image[1]}{_mark(image[2])}"


def _mark(reference: str) -> str:
    return f"#{reference[:_SHORT]}"
