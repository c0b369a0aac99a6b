"""What all renderers share: one lock, one stream, the output of each action, and failures told in full at the end."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TextIO

from envup.events import Event
from envup.report.lines import LineBuffer
from envup.report.style import Style
from envup.report.words import Names


class Renderer:
    """Takes events from any thread. When the output cannot be written any more (a reader went away, a disk is full),
    the work goes on without it."""

    wants_prose = True
    """Whether failures are told in words on standard error."""

    def __init__(self, stream: TextIO, style: Style) -> None:
        self.stream = stream
        self.style = style
        self.names = Names()
        self.buffers: dict[str, LineBuffer] = {}
        self._failures: list[Event] = []
        self._lock = threading.RLock()
        self._trouble: OSError | None = None

    def emit(self, event: Event) -> None:
        """Show an event."""
        with self._lock:
            if event.kind == "plan":
                self.names.learn(event.data)
            elif event.kind == "output":
                lines = self.buffers.setdefault(event.action, LineBuffer()).feed(event.text)
                self.program(event.machine, lines)
            elif event.kind in ("finished", "failed"):
                event = self._ended(event)
            self.show(event)

    def _ended(self, event: Event) -> Event:
        buffer = self.buffers.pop(event.action, None)
        if buffer is not None:
            self.program(event.machine, buffer.finish())
        if event.kind == "failed":
            if buffer is not None and not event.data.get("tail"):
                data = dict(event.data) | {"tail": list(buffer.tail)}
                event = Event(event.kind, event.machine, event.action, event.text, data, event.time)
            self._failures.append(event)
        return event

    def show(self, event: Event) -> None:
        """Show an event; called with the lock held."""
        raise NotImplementedError

    def program(self, machine: str, lines: Sequence[str]) -> None:
        """Show clean, whole lines that a program of a machine wrote; called with the lock held."""

    def say(self, text: str) -> None:
        """Tell the user a line of the command itself, for example that there was nothing to do."""
        with self._lock:
            self.write(text + "\n")

    def result(self, *, ok: bool, **fields: Any) -> None:
        """Tell how the command ended: each failure in full, on standard error; for programs a document of
        `ok` and `fields`."""
        self.close()
        with self._lock:
            self.end({"ok": ok, **fields})
        if self.wants_prose:
            self._tell_failures(interrupted=bool(fields.get("interrupted")))

    def end(self, document: Mapping[str, Any]) -> None:
        """Write how the command ended; called with the lock held."""

    def _tell_failures(self, *, interrupted: bool) -> None:
        """After an interrupt, only what had failed by itself: programs that were ended have no exit code."""
        if self._trouble is not None and not isinstance(self._trouble, BrokenPipeError):
            sys.stderr.write(f"the rest of the output was lost: {self._trouble.strerror}\n")
        failures, self._failures = self._failures, []
        for event in failures:
            if not interrupted or event.data.get("exit_code") is not None:
                from envup.report.failure import describe

                sys.stderr.write("\n" + "\n".join(describe(event, self.names, self.style)) + "\n")

    def close(self) -> None:
        """Write what is left. A second call does nothing."""

    def write(self, text: str) -> None:
        """Put text on the stream at once, as far as anybody still reads it."""
        if self._trouble is not None or not text:
            return
        try:
            self.stream.write(text)
            self.stream.flush()
        except OSError as error:
            self._trouble = error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
