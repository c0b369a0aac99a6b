"""The live terminal view: the rows of the machines at work below, everything that remains scrolling away above.

The cursor is never hidden and no terminal mode is changed, so whatever ends the process, the terminal is as it was.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType
from typing import TextIO

from envup.events import Event
from envup.report.plain import sentence
from envup.report.renderer import Renderer
from envup.report.style import Style
from envup.report.text import clean, width
from envup.report.view import View

_TICK = 1.0
"""Seconds between two redraws when nothing happens but time."""
_PAUSE = 0.05
"""Seconds that a redraw waits for more events, so that a flood of output costs 20 redraws a second."""
_SIZE = (80, 24)
"""Columns and lines of a terminal that does not tell."""


class Painter:
    """Turns what should be on the terminal into the bytes that bring it there."""

    def __init__(self) -> None:
        self._drawn: list[int] = []

    def paint(self, above: str, frame: list[str], widths: list[int], columns: int) -> str:
        """Replace the frame drawn last by `above`, which stays, and a new frame. A terminal that became narrower has
        wrapped the old frame, so its rows are counted anew. Cleared line by line, since tmux keeps in its history what
        one sequence clears from the top of the screen."""
        rows = sum(max(1, -(-drawn // columns)) for drawn in self._drawn)
        clear = "\r\x1b[2K" + "\x1b[A\x1b[2K" * (rows - 1) if rows else ""
        self._drawn = widths
        return clear + above + "\n".join(frame)

    def forget(self) -> None:
        """Leave what is drawn where it is, since the terminal was used by somebody else."""
        self._drawn = []


class Live(Renderer):
    """A thread redraws while something runs; nothing is started for a command that does nothing."""

    def __init__(self, stream: TextIO, style: Style) -> None:
        super().__init__(stream, style)
        self.view = View(self.names, style)
        self._painter = Painter()
        self._above: list[str] = []
        self._changed = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._dirty = False
        self._continued: object = None

    def show(self, event: Event) -> None:
        if event.kind == "plan":
            self.view.plan(event.data)
            if not event.data.get("actions"):
                return
        elif event.kind == "warning":
            place = f"{event.machine}: " if event.machine else ""
            self._above.append(f"{place}{self.style.paint('yellow', 'warning')}: {clean(event.text)}")
        elif event.kind == "note" or not event.action:
            if not (line := sentence(event, self.names, self.style)):
                return
            self._above.append(line)
        else:
            buffer = self.buffers.get(event.action)
            if remaining := self.view.feed(event, buffer.last if buffer else ""):
                self._above.append(remaining)
        self._wake()

    def say(self, text: str) -> None:
        with self._lock:
            self._above.append(text)
            if self._thread is None:
                self._draw()
            else:
                self._wake()

    def close(self) -> None:
        """Draw what remains and end the thread."""
        thread, self._thread = self._thread, None
        with self._lock:
            self._closing.set()
            self._dirty = True
            self._changed.notify()
        if thread is not None:
            thread.join()
        with self._lock:
            self._above.extend(self.view.rest(time.time()))
            self.view.rows.clear()
            self._draw()
        self._listen_no_more()

    def _wake(self) -> None:
        if self._thread is None and not self._closing.is_set():
            self._listen()
            self._thread = threading.Thread(target=self._run, name="envup-report", daemon=True)
            self._thread.start()
        self._dirty = True
        self._changed.notify()

    def _run(self) -> None:
        while not self._closing.is_set():
            with self._lock:
                self._draw()
            self._closing.wait(_PAUSE)
            with self._lock:
                if not self._dirty:
                    self._changed.wait(_TICK)

    def _draw(self) -> None:
        self._dirty = False
        columns, lines = self._size()
        frame = list(self.view.frame(max(columns - 1, 1), max(lines - 1, 1), time.time()))
        above = "".join(line + "\n" for line in self._above)
        self._above.clear()
        self.write(self._painter.paint(above, frame, [self._plain_width(line) for line in frame], max(columns, 1)))

    def _size(self) -> tuple[int, int]:
        try:
            columns, lines = os.get_terminal_size(self.stream.fileno())
        except OSError:
            return _SIZE
        return columns or _SIZE[0], lines or _SIZE[1]

    def _plain_width(self, line: str) -> int:
        return width(clean(line))

    def _listen(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._continued = signal.signal(signal.SIGCONT, self._on_continue)

    def _listen_no_more(self) -> None:
        if self._continued is not None:
            signal.signal(signal.SIGCONT, self._continued)  # type: ignore[arg-type]
            self._continued = None

    def _on_continue(self, _number: int, _frame: FrameType | None) -> None:
        self._painter.forget()
