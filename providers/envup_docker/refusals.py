"""What an engine refused, as users are told it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from envup.errors import EnvupError
from envup_docker.failures import EngineError


def told(error: EngineError, brief: str) -> EnvupError:
    """The error of an operation, `brief` saying which one failed; the engine's own words are its details. An engine
    that cannot be reached is the whole story."""
    if error.status == 0:
        return EnvupError(error.message, hint=error.hint)
    return EnvupError(brief, details=error.message, hint=error.hint)


@contextmanager
def telling(brief: str) -> Iterator[None]:
    """Turns an `EngineError` of the body into what users are told."""
    try:
        yield
    except EngineError as error:
        raise told(error, brief) from error
