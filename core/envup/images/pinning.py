"""Whether an image is what the lock file has."""

from __future__ import annotations

import shlex

from envup import spec as specs
from envup.errors import EnvupError
from envup.model import ImageReference, Pin

_MOST = 20
"""Facts that an error tells."""


def require(reference: ImageReference, found: Pin) -> None:
    """Errors: `EnvupError` where the reference is locked at another image than the one that was found."""
    pin = reference.pin
    if pin is None or pin.digest == found.digest:
        return
    words = specs.image_in_words({"source": reference.source, **specs.kept(reference.options, reference.secrets, "")})
    facts = [
        f"{name}: locked {pin.facts.get(name, 'without')}, found {found.facts.get(name, 'without')}"
        for name in sorted(pin.facts.keys() | found.facts.keys())
        if pin.facts.get(name) != found.facts.get(name)
    ]
    raise EnvupError(
        f"the image {words} is not what the lock file has",
        details="\n".join([f"locked: {pin.digest}", f"found:  {found.digest}", *facts[:_MOST]]),
        hint=f"{update(pin)} takes the image as it is now into the lock file",
    )


def update(pin: Pin) -> str:
    """The command that locks an image anew, and no other."""
    return f"`{shlex.join(['env', 'lock', '--update', *filter(None, [pin.title])])}`"
