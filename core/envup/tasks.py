"""Calls that run at the same time, each in a thread of its own. `concurrent.futures` does this too, and takes 6 ms to
load, as long as many a command."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Generic, TypeVar

_T = TypeVar("_T")


def _nothing() -> None:
    return None


class Task(Thread, Generic[_T]):
    """`call`, started at once. `at_end` is called in its thread when it has `ended`."""

    def __init__(self, call: Callable[[], _T], *, at_end: Callable[[], None] = _nothing) -> None:
        super().__init__()
        self._call, self._at_end = call, at_end
        self._result: list[_T] = []
        self.error: BaseException | None = None
        self.ended = False
        self.start()

    def run(self) -> None:
        """See `Thread`."""
        try:
            self._result.append(self._call())
        except BaseException as error:
            self.error = error
        self.ended = True
        self._at_end()

    def result(self) -> _T:
        """What the call returned, waited for. Errors: those that it raised."""
        self.join()
        if self.error is not None:
            raise self.error
        return self._result[0]
