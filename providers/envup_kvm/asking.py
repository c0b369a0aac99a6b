"""Requests to the agent of a machine that are answered with a few words."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from envup.errors import EnvupError
from envup_kvm import link, wire

_FLUSHED = 600.0
"""Seconds in which a machine has written what its memory held."""


def ask(place: Path, request: Callable[[], dict[str, Any]], failure: str, *, seconds: float) -> dict[str, Any]:
    """The answer to a request, see `upkeep.answer`, which is made when the way to the machine is open; in `seconds` at
    most. Errors: `EnvupError` that begins with `failure`."""
    try:
        with link.open_way(str(place), seconds) as way:
            way.settimeout(seconds)
            way.sendall(wire.frame(wire.REQUEST, json.dumps(request()).encode()))
            frames = wire.Frames()
            while data := way.recv(1 << 16):
                for kind, content in frames.feed(data):
                    if kind == wire.OUTPUT:
                        return _whole(json.loads(content), failure)
    except (link.NoWay, OSError) as error:
        raise EnvupError(failure, details=str(error)) from error
    raise EnvupError(failure, details="its agent does not answer")


def wake(place: Path, machine: str, *, seconds: float) -> str:
    """Set the clock of a machine that stood still; what it was told when it booted. Errors: `EnvupError`."""
    failure = f"the clock of machine '{machine}' cannot be set"
    return str(ask(place, lambda: {"verb": "wake", "time": time.time_ns()}, failure, seconds=seconds)["facts"])


def flush(place: Path, machine: str) -> None:
    """Have a machine write what its memory holds of files. Errors: `EnvupError`."""
    failure = f"what machine '{machine}' wrote cannot be flushed to its disk"
    ask(place, lambda: {"verb": "flush"}, failure, seconds=_FLUSHED)


def _whole(answer: dict[str, Any], failure: str) -> dict[str, Any]:
    if "error" in answer:
        raise EnvupError(failure, details=str(answer["error"]))
    return answer
