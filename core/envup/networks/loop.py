"""The keeper's one thread: calls back when a descriptor is ready, when a time has come, or again after all others had
their turn."""

from __future__ import annotations

import _heapq
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READ = select.EPOLLIN
EDGES = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
"""Told once for each change; who asks for this must work until nothing more can be done."""


class Loop:
    """Waits for events and gives them to those who asked. A callback may add and remove anything."""

    __slots__ = ("_callbacks", "_epoll", "_soon", "_timers", "_turn")

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._soon: dict[Callable[[], None], None] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._turn = 0

    def add(self, descriptor: int, callback: Callable[[], None], events: int = READ) -> None:
        """Call back at each of `events`."""
        self._epoll.register(descriptor, events)
        self._callbacks[descriptor] = callback

    def remove(self, descriptor: int) -> None:
        """Forget a descriptor, known or not; to be called before it is closed."""
        if self._callbacks.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def soon(self, callback: Callable[[], None]) -> None:
        """Call back once, after what is ready now."""
        self._soon[callback] = None

    def forget(self, callback: Callable[[], None]) -> None:
        """Take `soon` back."""
        self._soon.pop(callback, None)

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call back once, `seconds` from now."""
        self._turn += 1
        _heapq.heappush(self._timers, (time.monotonic() + seconds, self._turn, callback))

    def turn(self) -> None:
        """Wait for the next event, and work on all that are there."""
        again = tuple(self._soon)
        for descriptor, _events in self._epoll.poll(0 if again else self._patience()):
            if callback := self._callbacks.get(descriptor):
                callback()
        for callback in again:
            if callback in self._soon:
                del self._soon[callback]
                callback()
        while self._timers and self._timers[0][0] <= time.monotonic():
            _heapq.heappop(self._timers)[2]()

    def _patience(self) -> float | None:
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
