"""Lines out of the pieces in which the output of a program arrives."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from envup.report.text import clean

_LONGEST = 8192
_KEPT = 20


class LineBuffer:
    """Collects the output of one action. `last` is the newest line with something in it, finished or not; `tail` the
    last 20 finished ones."""

    def __init__(self) -> None:
        self._rest = ""
        self.last = ""
        self.tail: deque[str] = deque(maxlen=_KEPT)

    def feed(self, text: str) -> Sequence[str]:
        """Take a piece; the clean lines that it completes. Of a line that the program wrote over with carriage returns,
        the last version counts; a line without end is broken at 8192 characters."""
        *whole, self._rest = (self._rest + text).split("\n")
        lines = [_visible(line) for line in whole]
        while len(self._rest) > _LONGEST:
            lines.append(_visible(self._rest[:_LONGEST]))
            self._rest = self._rest[_LONGEST:]
        newest = next((line for line in (_visible(self._rest), *reversed(lines)) if line.strip()), "")
        self.last = newest or self.last
        self.tail.extend(lines)
        return lines

    def finish(self) -> Sequence[str]:
        """The line that was left without an end, if there is one."""
        lines = [_visible(self._rest)] if self._rest else []
        self._rest = ""
        self.tail.extend(lines)
        return lines


def _visible(line: str) -> str:
    parts = line.rstrip("\r").split("\r")
    return clean(next((part for part in reversed(parts) if part), ""))
