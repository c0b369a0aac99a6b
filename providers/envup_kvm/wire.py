"""What a command and the agent of a machine say to each other: frames of a kind, a length and that many bytes.

The first is REQUEST. INPUT carries standard input, an empty one its end; no more than WINDOW bytes of it are under way,
and TAKEN says how many have left. OUTPUT, ERRORS and SCREEN (a
terminal) are the program's, ENDED its wait status, the last frame.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

REQUEST, INPUT, OUTPUT, ERRORS, SIGNAL, SIZE, TAKEN, ENDED, SCREEN = range(9)

WINDOW = 1 << 20
"""Bytes of standard input that may be on the way to a program that does not read."""

_MOST = 64 << 20
"""Bytes; what an agent is told or answers is far less, and nobody keeps more for it."""

_HEAD = struct.Struct("!BI")
_NUMBER = struct.Struct("!I")


def frame(kind: int, content: bytes | memoryview = b"") -> bytes:
    """One frame."""
    return _HEAD.pack(kind, len(content)) + content


def numbered(kind: int, number: int) -> bytes:
    """One frame that holds a number."""
    return frame(kind, _NUMBER.pack(number))


def number(content: bytes | memoryview) -> int:
    """The number in a frame."""
    return int(_NUMBER.unpack(content)[0])


class Frames:
    """Takes a stream apart. Errors: `ConnectionError` for one that cannot be."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The frames that are whole with `data`."""
        self._held += data
        at = 0
        while len(self._held) - at >= _HEAD.size:
            kind, length = _HEAD.unpack_from(self._held, at)
            if length > _MOST:
                raise ConnectionError(f"a frame of {length} bytes is none")
            end = at + _HEAD.size + length
            if len(self._held) < end:
                break
            yield kind, bytes(memoryview(self._held)[at + _HEAD.size : end])
            at = end
        del self._held[:at]
