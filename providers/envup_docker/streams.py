"""The frames in which an engine sends standard output and standard error over one connection.

The format is described at https://docs.docker.com/reference/api/engine/ under "Attach to a container".
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADER = 8


class Frames:
    """Takes frames apart, wherever the pieces of the stream begin and end."""

    __slots__ = ("_header", "_kind", "_left")

    def __init__(self) -> None:
        self._header = b""
        self._kind = self._left = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, memoryview]]:
        """What is in `data`: 1 for output or 2 for errors, and the bytes."""
        view = memoryview(data)
        at = 0
        while at < len(view):
            if not self._left:
                missing = _HEADER - len(self._header)
                self._header += view[at : at + missing]
                at += missing
                if len(self._header) < _HEADER:
                    return
                self._kind = 1 if self._header[0] < 2 else 2
                self._left = int.from_bytes(self._header[4:], "big")
                self._header = b""
                continue
            piece = view[at : at + self._left]
            yield self._kind, piece
            at += len(piece)
            self._left -= len(piece)


class Whole:
    """The stream of a program with a terminal, which has no frames."""

    __slots__ = ()

    def feed(self, data: bytes) -> Iterator[tuple[int, memoryview]]:
        """All of it, as output."""
        if data:
            yield 1, memoryview(data)
