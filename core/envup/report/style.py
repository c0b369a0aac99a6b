"""Colours and signs: ANSI on a terminal, nothing elsewhere; signs that the output's encoding has."""

from __future__ import annotations

from typing import TextIO

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


class Style:
    """Paints text. `ok`, `bad`, `lack`, `busy`, `dot` and `more` are the signs in use."""

    def __init__(self, *, color: bool = False, unicode: bool = True) -> None:
        self.color = color
        self.ok, self.bad, self.lack, self.busy, self.dot, self.more = "✓✗!•·…" if unicode else "+x!*-~"

    @classmethod
    def of(cls, stream: TextIO, *, color: bool) -> Style:
        """The style for a stream; `color` says whether colours are wanted there."""
        encoding = (stream.encoding or "ascii").lower().replace("-", "").replace("_", "")
        return cls(color=color, unicode=encoding.startswith("utf"))

    def paint(self, name: str, text: str) -> str:
        """The text in a colour: bold, dim, red, green, yellow or cyan."""
        return f"\x1b[{_CODES[name]}m{text}\x1b[0m" if self.color and text else text
