"""Whether the network of a keeper has a way out, as commands are told. What runs it is in `slirp`."""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH123

from __future__ import annotations

import os

from envup.networks import bridge, slirp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from envup.networks.loop import Loop

_PATIENCE = 10.0
"""Seconds that slirp4netns has to be ready; it takes milliseconds."""


class WayOut:
    """The way out; without a watcher that of the host, which is always open. `answer` is None until it is known whether
    there is one, then empty or the answer that says why not. `log` is where slirp4netns says why."""

    __slots__ = ("_log", "_loop", "_paused", "_started", "_unwatched", "_watcher", "_wondering", "answer")

    def __init__(self, loop: Loop, log: str, watcher: slirp.Watcher | None = None) -> None:
        self._loop, self._log, self._watcher = loop, log, watcher
        self._wondering: list[Callable[[], None]] = []
        self._unwatched = self._paused = False
        self._started = 0
        self.answer: dict[str, Any] | None = None if watcher else {}

    def open(self) -> None:
        """Have it opened: this process is in its namespaces now."""
        if self._watcher is not None:
            self._start(self._watcher)
            self._loop.add(self._watcher.ready, self._see)

    def when_known(self, callback: Callable[[], None]) -> None:
        """Call back when `answer` is known."""
        if self.answer == {} and self._unwatched and not bridge.has(slirp.DEVICE):
            self.answer = _missing(self._said(), hint="run: env restart")
        if self.answer is None:
            self._wondering.append(callback)
        else:
            callback()

    def pause(self) -> None:
        """Close it, where that is possible now; nobody needs it until `resume`."""
        if self._watcher is not None and self.answer == {} and not self._unwatched:
            self.answer, self._paused = None, True
            self._watcher.pause()

    def resume(self) -> None:
        """Have it opened again where it was paused."""
        if self._watcher is not None and self._paused:
            self._paused = False
            self._start(self._watcher)

    def end(self) -> None:
        """Close it for good; returns when nothing of it is left."""
        if self._watcher is not None:
            self._watcher.end()

    def _start(self, watcher: slirp.Watcher) -> None:
        self._started += 1
        this = self._started
        self._loop.later(_PATIENCE, lambda: self._give_up(this))
        watcher.start()

    def _see(self) -> None:
        """Make the device of slirp4netns a port of the bridge; each new one, as it may have been run anew."""
        assert self._watcher is not None, "nobody else is ready"
        known, self.answer = self.answer, {}
        try:
            if os.read(self._watcher.ready, 1):
                bridge.add(slirp.DEVICE)
            else:
                self._loop.remove(self._watcher.ready)
                self._unwatched = True
                if known != {}:
                    self.answer = _missing(self._said())
        except OSError as error:
            self.answer = _missing(str(error.strerror))
        self._tell()

    def _give_up(self, started: int) -> None:
        if self.answer is None and started == self._started and not self._paused:
            self.answer = _missing(f"it was not ready after {_PATIENCE:g} s")
            self._tell()

    def _tell(self) -> None:
        for callback in self._wondering:
            callback()
        self._wondering.clear()

    def _said(self) -> str:
        with open(self._log, encoding="utf-8", errors="replace") as file:
            return file.read().strip()


def _missing(details: str, *, hint: str = "") -> dict[str, Any]:
    brief = f"{slirp.PROGRAM}, which takes the machines' network out, does not run"
    return {"error": brief, "details": details, "hint": hint}
