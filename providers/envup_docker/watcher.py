"""A process that ends a program in a container when the one that stands in for it is killed.

The program is no child of this host's processes: nothing else would end it.
"""

# os rather than pathlib, which takes longer to load than all of this.

from __future__ import annotations

import os

from envup_docker import errands
from envup_docker.engine import Engine
from envup_docker.failures import EngineError


class Watcher:
    """Watches this process from its own session, until `dismiss`."""

    __slots__ = ("_alive",)

    def __init__(self, target: errands.Target) -> None:
        reading, self._alive = os.pipe()
        if os.fork() == 0:
            os._exit(_watch(reading, target))
        os.close(reading)

    def dismiss(self) -> None:
        """The program has ended."""
        try:
            os.write(self._alive, b"0")
        except BrokenPipeError:
            return  # Somebody has ended the watcher.


def _watch(reading: int, target: errands.Target) -> int:
    os.setsid()
    os.dup2(reading, 3)
    os.closerange(4, 1 << 20)
    nothing = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    if os.read(3, 1):
        return 0
    try:
        errands.end(errands.Target(Engine(target.engine.endpoint), target.container, target.group, target.user))
    except EngineError:
        return 1
    return 0
