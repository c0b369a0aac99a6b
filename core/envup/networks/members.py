"""The machines on a keeper's network: what shows that each lives, and the ports that are forwarded to it as long as it
does."""

from __future__ import annotations

import errno

from envup.networks import datagrams, streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from envup.networks.loop import Loop

    Forward = streams.Listener | datagrams.Listener
    Kind = TypeVar("Kind", bound="Life")


_RESERVED = 128
"""Descriptors that are kept for commands and children."""


class Life:
    """What shows that a machine lives; each keeper has a kind of its own. Whoever made it tells `Members.ended` of the
    end."""

    __slots__ = ()

    def kill(self) -> None:
        """Have it end; `Members.ended` is called by and by."""
        raise NotImplementedError

    def close(self) -> None:
        """It has ended: let go of what stood for it."""
        raise NotImplementedError


class _Member:
    """`owner` is the connection whose end is also the machine's, None once it is settled; `waiting` are called when it
    has ended."""

    __slots__ = ("life", "owner", "waiting")

    def __init__(self, life: Life, owner: object) -> None:
        self.life, self.owner = life, owner
        self.waiting: list[Callable[[], None]] = []


class Members:
    """Every machine of the keeper, by name. `changed` is called when one has ended."""

    __slots__ = ("_changed", "_forwards", "_loop", "_members", "most_open")

    def __init__(self, loop: Loop, changed: Callable[[], None]) -> None:
        self._loop, self._changed = loop, changed
        self._members: dict[str, _Member] = {}
        self._forwards: dict[str, list[Forward]] = {}
        self.most_open: tuple[int, int] | None = None
        """The limit of open files that this process had, where it has another now."""

    def __len__(self) -> int:
        return len(self._members)

    def names(self) -> set[str]:
        """Of those that live."""
        return set(self._members)

    def life(self, name: str) -> Life | None:
        """That of a machine, None where it does not live."""
        return self._members[name].life if name in self._members else None

    def when_ended(self, name: str, callback: Callable[[], None]) -> None:
        """Call back when no machine of that name lives."""
        if name in self._members:
            self._members[name].waiting.append(callback)
        else:
            callback()

    def add(self, name: str, owner: object, begin: Callable[[], Kind]) -> Kind:
        """A machine that lives from now on. Errors: `OSError`, also when one of that name lives."""
        if name in self._members:
            raise FileExistsError(errno.EEXIST, "it runs already")
        life = begin()
        self._members[name] = _Member(life, owner)
        return life

    def settle(self, name: str) -> bool:
        """Let it live without its owner; False when it does not live."""
        if name in self._members:
            self._members[name].owner = None
        return name in self._members

    def forward(self, name: str, descriptor: int, protocol: str, target: tuple[str, int]) -> None:
        """Forward a bound socket, which is this object's from now on."""
        kind = streams.Listener if protocol == "tcp" else datagrams.Listener
        self._forwards.setdefault(name, []).append(kind(self._loop, descriptor, target, self._raised_limit()))

    def abandon(self, owner: object, touched: set[str]) -> None:
        """A command is gone: what it has not settled ends, and forwards without a machine."""
        for member in tuple(self._members.values()):
            if member.owner is owner:
                member.life.kill()
        for name in touched - self._members.keys():
            self._drop_forwards(name)

    def ended(self, name: str) -> None:
        """It lives no more."""
        member = self._members.pop(name)
        member.life.close()
        self._drop_forwards(name)
        for callback in member.waiting:
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
        if self.most_open is None:
            self.most_open = soft, hard
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return (hard if hard > 0 else 1 << 20) - _RESERVED
