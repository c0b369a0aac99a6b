"""What a keeper runs: for each machine one child, and the ports that are forwarded to it as long as it runs."""

from __future__ import annotations

import errno
import os

from envup.namespaces.signals import signal
from envup_lxc import datagrams, spawning, streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from envup_lxc.loop import Loop

    Forward = streams.Listener | datagrams.Listener


_RESERVED = 128
"""Descriptors that are kept for commands and children."""


class Machine:
    """A child. `owner` is the connection whose end is also the machine's, None once it is settled; `waiting` are called
    when it has ended."""

    __slots__ = ("descriptor", "owner", "pid", "waiting")

    def __init__(self, pid: int, owner: object) -> None:
        self.pid, self.owner = pid, owner
        self.descriptor = os.pidfd_open(pid)
        self.waiting: list[Callable[[], None]] = []


class Machines:
    """Every machine of the keeper, by name. `changed` is called when one has ended."""

    __slots__ = ("_changed", "_forwards", "_loop", "_most_open", "_running")

    def __init__(self, loop: Loop, changed: Callable[[], None]) -> None:
        self._loop, self._changed = loop, changed
        self._running: dict[str, Machine] = {}
        self._forwards: dict[str, list[Forward]] = {}
        self._most_open: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self._running)

    def names(self) -> set[str]:
        """Of those that run."""
        return set(self._running)

    def when_ended(self, name: str, callback: Callable[[], None]) -> None:
        """Call back when no machine of that name runs."""
        if name in self._running:
            self._running[name].waiting.append(callback)
        else:
            callback()

    def launch(self, name: str, request: Mapping[str, Any], descriptors: list[int], owner: object) -> tuple[int, str]:
        """(pid, start time) of its child. Errors: `OSError`, also when one of that name runs."""
        if name in self._running:
            raise FileExistsError(errno.EEXIST, "it runs already")
        pid, start = spawning.spawn(request, descriptors, self._most_open)
        machine = self._running[name] = Machine(pid, owner)
        self._loop.add(machine.descriptor, lambda: self._ended(name))
        return pid, start

    def settle(self, name: str) -> bool:
        """Let it live without its owner; False when it does not run."""
        if name in self._running:
            self._running[name].owner = None
        return name in self._running

    def forward(self, name: str, descriptor: int, protocol: str, target: tuple[str, int]) -> None:
        """Forward a bound socket, which is this object's from now on."""
        kind = streams.Listener if protocol == "tcp" else datagrams.Listener
        self._forwards.setdefault(name, []).append(kind(self._loop, descriptor, target, self._raised_limit()))

    def abandon(self, owner: object, touched: set[str]) -> None:
        """A command is gone: what it has not settled ends, and forwards without a machine."""
        for machine in self._running.values():
            if machine.owner is owner:
                os.kill(machine.pid, signal.SIGKILL)
        for name in touched - self._running.keys():
            self._drop_forwards(name)

    def _ended(self, name: str) -> None:
        machine = self._running.pop(name)
        self._loop.remove(machine.descriptor)
        os.close(machine.descriptor)
        os.waitpid(machine.pid, 0)
        self._drop_forwards(name)
        for callback in machine.waiting:
            callback()
        self._changed()

    def _drop_forwards(self, name: str) -> None:
        for forward in self._forwards.pop(name, ()):
            forward.close()

    def _raised_limit(self) -> int:
        """The descriptor from which on forwards leave the rest to this process's own needs. Each connection takes two,
        so the limit is raised; children keep the one that they would have had."""
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if self._most_open is None:
            self._most_open = soft, hard
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return (hard if hard > 0 else 1 << 20) - _RESERVED
