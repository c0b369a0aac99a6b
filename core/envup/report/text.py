"""Text as a terminal shows it: no control characters of others, its width in columns, cut to fit; durations."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import re

_ESCAPE_SEQUENCE = (
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]"  # CSI, ECMA-48 section 5.4
    r"|[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|$)"  # OSC, DCS, SOS, PM, APC up to their terminator
    r"|[ -/]*[0-~])"
    r"|\x9b[0-?]*[ -/]*[@-~]"
)
_UNSAFE = "[\x00-\x08\x0a-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
"""Control characters but tab, marks that change the direction of text, lone surrogates."""
_ZERO_WIDTH = frozenset(("Mn", "Me", "Cf"))


def clean(text: str) -> str:
    """The text without escape sequences; other characters that could mislead a terminal are shown as `\\xNN`."""
    if text.isprintable():
        return text
    escape_sequence, unsafe = _patterns()
    return unsafe.sub(_escaped, escape_sequence.sub("", text))


def clean_lines(text: str) -> list[str]:
    """The lines of a longer text, each one clean."""
    return [clean(line) for line in text.replace("\r\n", "\n").split("\n")]


def width(text: str) -> int:
    """Columns that a clean text takes."""
    if text.isascii():
        return len(text)
    return sum(map(_columns, text))


def fit(text: str, columns: int, more: str = "…") -> str:
    """The text with tabs as spaces, cut to at most `columns`, ending in `more` where something was cut."""
    text = text.replace("\t", "    ")
    if width(text) <= columns:
        return text
    room, used, kept = columns - width(more), 0, []
    for character in text:
        used += _columns(character)
        if used > room:
            break
        kept.append(character)
    return "".join(kept) + more if room >= 0 else ""


def pad(text: str, columns: int) -> str:
    """The text with spaces behind it up to `columns`."""
    return text + " " * (columns - width(text))


def duration(seconds: float) -> str:
    """A time in words: `0.2 s`, `12 s`, `3 min 4 s`, `2 h 5 min`."""
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(count: int) -> str:
    """Bytes in words, with binary units."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def table(rows: list[list[str]], paint: Callable[[str], str] = str) -> list[str]:
    """Rows as aligned columns two spaces apart; `paint` colours the first row."""
    widths = [max(width(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(map(pad, row, widths)).rstrip() for row in rows]
    return [paint(lines[0]), *lines[1:]]


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Compiled when they are first needed, for that takes longer than most of what is printed."""
    import re

    return re.compile(_ESCAPE_SEQUENCE), re.compile(_UNSAFE)


@cache
def _columns(character: str) -> int:
    import unicodedata

    if unicodedata.category(character) in _ZERO_WIDTH:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
