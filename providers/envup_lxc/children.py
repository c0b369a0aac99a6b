"""What the keeper runs: for each machine one child, which does not outlive it."""

from __future__ import annotations

import os

from envup.namespaces.signals import signal
from envup.networks import commands
from envup.networks.members import Life
from envup_lxc import spawning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from envup.networks.commands import Connection
    from envup.networks.loop import Loop


class Child(Life):
    """A child; `ended` is called at its end. `start` is its start time."""

    __slots__ = ("_descriptor", "_loop", "pid", "start")

    def __init__(self, loop: Loop, process: tuple[int, str], ended: Callable[[], None]) -> None:
        self.pid, self.start = process
        self._loop = loop
        self._descriptor = os.pidfd_open(self.pid)
        loop.add(self._descriptor, ended)

    def kill(self) -> None:
        """See `Life`."""
        os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """See `Life`."""
        self._loop.remove(self._descriptor)
        os.close(self._descriptor)
        os.waitpid(self.pid, 0)


def launch(command: Connection, request: dict[str, Any], descriptors: list[int]) -> None:
    """Answer (pid, start time) of a new child."""
    members, name = command.keeper.members, request["machine"]
    command.touched.add(name)

    def begin() -> Child:
        process = spawning.spawn(request, descriptors, members.most_open)
        return Child(command.keeper.loop, process, lambda: members.ended(name))

    try:
        child = members.add(name, command, begin)
        command.answer({"pid": child.pid, "start": child.start})
    except OSError as error:
        command.answer({"error": f"cannot start a process for machine '{name}': {error.strerror}"})
    finally:
        commands.close(descriptors)
