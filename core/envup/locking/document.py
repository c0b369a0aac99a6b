"""The lock file as a value and as text.

Each line is one fact and stands for itself, so that version control merges what two people have locked: a key of TOML
with dots and its value. The lines are sorted, behind one that says the format.

    format = 1
    image.debootstrap."debian/bookworm@amd64".digest = "sha256:…"
    image.debootstrap."debian/bookworm@amd64".package.apt = "2.6.1"
    image.debootstrap."debian/bookworm@amd64".reference = "…"
    order.web = ["packages", "app"]
    plugin.provider.docker = "envup 0.1.0"
    step.web.app = "sha256:…"
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from envup.errors import EnvupError
from envup.files import write_atomically
from envup.model import Pin
from envup.value import NOTHING, Value

FORMAT = 1
_HEAD = (
    "# Written by `env lock`. Commit it. After a conflict: `env lock --update` of the images in it, or `env lock`.\n"
    f"format = {FORMAT}\n"
)
_BARE = re.compile(r"[A-Za-z0-9_-]+")
Pair = tuple[str, str]
_NONE: Mapping[Any, Any] = NOTHING


class LockedImage(Value):
    """What an image is locked at. `reference` is a digest of how the Envfile names it; `pin` None: it cannot be got
    again, and only that is known. `lockable` is said of an Envfile as it is now: it can, so it is to have a pin."""

    reference: str
    pin: Pin | None = None
    lockable: bool = False


class Lock(Value):
    """All of a lock file. `images` are by source and title, `plugins`, each a distribution and its version, by kind and
    name, `steps`, each a digest, by machine and name; `order` has the names of all steps of a machine."""

    images: Mapping[Pair, LockedImage] = _NONE
    plugins: Mapping[Pair, str] = _NONE
    steps: Mapping[Pair, str] = _NONE
    order: Mapping[str, tuple[str, ...]] = NOTHING


def write(path: Path, lock: Lock) -> None:
    """Replace the lock file, or what it links to. Errors: `EnvupError`, with the old one untouched."""
    try:
        write_atomically(Path(os.path.realpath(path)), render(lock).encode())
    except OSError as error:
        raise EnvupError(f"cannot write {path}: {error.strerror}") from error


def render(lock: Lock) -> str:
    """The text of a lock file."""
    facts = sorted(_facts(lock), key=lambda fact: fact[0])
    return _HEAD + "".join(f"{'.'.join(map(_key, path))} = {_value(value)}\n" for path, value in facts)


def _facts(lock: Lock) -> Iterator[tuple[tuple[str, ...], Any]]:
    for place, image in lock.images.items():
        yield ("image", *place, "reference"), image.reference
        if image.pin:
            yield ("image", *place, "digest"), image.pin.digest
            for name, value in image.pin.facts.items():
                yield ("image", *place, *name.split(".", 1)), value
    for pair, distribution in lock.plugins.items():
        yield ("plugin", *pair), distribution
    for pair, digest in lock.steps.items():
        yield ("step", *pair), digest
    for machine, names in lock.order.items():
        yield ("order", machine), list(names)


def _key(word: str) -> str:
    return word if _BARE.fullmatch(word) else _value(word)


def _value(value: Any) -> str:
    """In JSON, which strings and lists of TOML are as well, but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
