"""What an engine refused, as users are told it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from envup.errors import EnvupError
from envup_docker.failures import EngineError

_STOPPED = "the engine was stopped meanwhile: start it, and run the command again"
_REMEDIES = {
    'exec: "/bin/sh"': "the image has no shell for the machine's init; `docker: {command: image}` runs its own program",
    "No command specified": "the image has no program of its own; leave out `docker: {command: image}`",
    "could not select device driver": "the engine has no such GPUs, or not the runtime for them: see docker.gpus",
    "No space left on device": "make room where the engine keeps its data: `env prune`, `docker system prune`",
    "no space left on device": "make room where the engine keeps its data: `env prune`, `docker system prune`",
    "failed to update store for object": _STOPPED,
    "client connection is closing": _STOPPED,
    "transport is closing": _STOPPED,
    "error while dialing": _STOPPED,
}
"""By what the engine says; the last ones while it ends."""


def told(error: EngineError, brief: str) -> EnvupError:
    """The error of an operation, `brief` saying which one failed; the engine's own words are its details. An engine
    that cannot be reached is the whole story."""
    if error.status == 0:
        return EnvupError(error.message, hint=error.hint)
    return EnvupError(brief, details=error.message, hint=error.hint or _remedy(error.message))


def _remedy(message: str) -> str:
    return next((remedy for sign, remedy in _REMEDIES.items() if sign in message), "")


@contextmanager
def telling(brief: str) -> Iterator[None]:
    """Turns an `EngineError` of the body into what users are told."""
    try:
        yield
    except EngineError as error:
        raise told(error, brief) from error
