"""What of a lock file does not fit the Envfile and what is installed, each in a line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from envup.locking.document import Lock, LockedImage, Pair
from envup.locking.titles import Named, plain

_KINDS = {"provider": "provider", "provisioner": "provisioner", "image_source": "image source"}


def differences(lock: Lock, now: Lock) -> tuple[str, ...]:
    """Images, plugins and steps that are stale, missing or different, in this order; empty when all fits."""
    return (*_images(lock, now), *_plugins(lock, now), *_steps(lock, now), *_order(lock, now))


def stale_images(lock: Lock, now: Lock) -> Mapping[Pair, str]:
    """Images of a lock file that fit no longer, with the reason. One for another architecture than this host's, under
    the same reference, fits."""
    wanted = {(place[0], image.reference) for place, image in now.images.items()}
    here = {_named(place, image): place[1] for place, image in now.images.items()}
    found = {}
    for place, image in lock.images.items():
        title = here.get(_named(place, image), place[1])
        if place in now.images and now.images[place].reference != image.reference:
            found[place] = f"image {place[1]} is declared differently"
        elif (place[0], image.reference) not in wanted:
            found[place] = f"image {place[1]} is no longer in the Envfile"
        elif title != place[1]:
            found[place] = f"image {place[1]} is locked as {title} as well"
    return found


def _named(place: Pair, image: LockedImage) -> Named:
    return place[0], plain(place[1], image.reference), image.reference


def missing_images(lock: Lock, now: Lock) -> frozenset[Pair]:
    """Images of an Envfile that a lock file lacks, or has without the pin that they can have."""
    without = {place for place, image in lock.images.items() if image.pin is None}
    pinless = {place for place, image in now.images.items() if image.lockable and place in without}
    return frozenset(pinless | (now.images.keys() - lock.images.keys()))


def _images(lock: Lock, now: Lock) -> Iterator[str]:
    stale = stale_images(lock, now)
    yield from stale.values()
    for place in sorted(missing_images(lock, now) - stale.keys()):
        yield f"image {place[1]} is not locked"


def _plugins(lock: Lock, now: Lock) -> Iterator[str]:
    changed: dict[tuple[str, str], list[str]] = {}
    for (kind, name), there in sorted(now.plugins.items()):
        locked, word = lock.plugins.get((kind, name)), f"{_KINDS[kind]} {name}"
        if locked is None:
            yield f"{word} is not locked"
        elif locked != there:
            changed.setdefault((locked, there), []).append(word)
    for (locked, there), words in changed.items():
        yield f"{', '.join(words)}: {there} is installed, locked is {locked}"
    for kind, name in sorted(lock.plugins.keys() - now.plugins.keys()):
        yield f"{_KINDS.get(kind, kind)} {name} is no longer used"


def _steps(lock: Lock, now: Lock) -> Iterator[str]:
    for place in sorted(lock.steps.keys() | now.steps.keys()):
        locked, there = lock.steps.get(place), now.steps.get(place)
        if locked != there:
            how = "is not locked" if locked is None else "is no longer in the Envfile" if there is None else "changed"
            yield f"step '{place[1]}' of machine '{place[0]}' {how}"


def _order(lock: Lock, now: Lock) -> Iterator[str]:
    """Where the steps themselves are others, that is told of them."""
    for machine in sorted(lock.order.keys() | now.order.keys()):
        locked, there = lock.order.get(machine, ()), now.order.get(machine, ())
        if locked != there and sorted(locked) == sorted(there):
            yield f"steps of machine '{machine}' are in another order"
        elif locked != there and _steps_of(machine, lock) == _steps_of(machine, now):
            yield f"the order of the steps of machine '{machine}' does not fit"


def _steps_of(machine: str, lock: Lock) -> frozenset[Pair]:
    return frozenset(place for place in lock.steps if place[0] == machine)
