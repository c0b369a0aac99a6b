"""HTTP/1.1 over a connected socket, as much of it as an engine speaks: RFC 9112.

The client of the standard library takes longer to load than a whole conversation with a local engine.
"""

from __future__ import annotations

from envup_docker.failures import LOST, EngineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Protocol

    class Source(Protocol):
        """What is sent as a body."""

        def read(self, most: int, /) -> bytes:
            """Between one and `most` bytes; none at the end."""


_CHUNK = 1 << 18
_LONGEST_LINE = 1 << 16


class Reader:
    """Buffered reading from a socket's `recv`, which gives nothing at the end."""

    __slots__ = ("_receive", "buffered")

    def __init__(self, receive: Callable[[int], bytes]) -> None:
        self._receive = receive
        self.buffered = b""

    def line(self) -> bytes:
        """The next line without its end."""
        while b"\n" not in self.buffered:
            data = self._receive(_CHUNK)
            if not data or len(self.buffered) > _LONGEST_LINE:
                raise EngineError(0, "the answer is not HTTP" if data else "the engine closed the connection", LOST)
            self.buffered += data
        line, _newline, self.buffered = self.buffered.partition(b"\n")
        return line.rstrip(b"\r")

    def some(self, most: int) -> bytes:
        """Between one and `most` bytes; none at the end."""
        if self.buffered:
            data, self.buffered = self.buffered[:most], self.buffered[most:]
            return data
        return self._receive(most)


class Answer:
    """The answer to one request; the body is read with `read`."""

    __slots__ = ("_chunked", "_left", "_reader", "headers", "status")

    def __init__(self, reader: Reader, method: str) -> None:
        self._reader = reader
        self.status = 100
        while self.status == 100:
            self.status = _status(reader.line())
            self.headers = _headers(reader)
        self._chunked = "chunked" in self.headers.get("transfer-encoding", "")
        self._left: int | None = None
        if method == "HEAD" or self.status in (204, 304):
            self._left, self._chunked = 0, False
        elif self._chunked:
            self._left = 0
        elif "content-length" in self.headers:
            self._left = int(self.headers["content-length"])

    @property
    def ended(self) -> bool:
        """Whether the body was read to its end, and another request can follow."""
        return self._left == 0 and not self._chunked and self.headers.get("connection", "").lower() != "close"

    def read(self, most: int = -1) -> bytes:
        """Between one and `most` bytes of the body, all that is left for -1; none at the end."""
        if most < 0:
            return b"".join(iter(lambda: self.read(_CHUNK), b""))
        if self._left == 0 and self._chunked:
            self._next_chunk()
        if self._left == 0:
            return b""
        data = self._reader.some(most if self._left is None else min(most, self._left))
        if self._left is not None:
            if not data:
                raise EngineError(0, "the engine closed the connection in the middle of an answer", LOST)
            self._left -= len(data)
        return data

    def _next_chunk(self) -> None:
        line = self._reader.line() or self._reader.line()  # An empty one ends the chunk before.
        try:
            self._left = int(line.partition(b";")[0], 16)
        except ValueError:
            raise EngineError(0, f"the answer is not HTTP: {line[:80]!r}") from None
        if not self._left:
            self._chunked = False
            while self._reader.line():
                pass


def request(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """The head of a request."""
    lines = (f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", "")
    return "\r\n".join(lines).encode("latin-1")


def send_chunked(send: Callable[[bytes], object], content: Source) -> None:
    """Send all of `content` as a chunked body."""
    while data := content.read(_CHUNK):
        send(b"%x\r\n%b\r\n" % (len(data), data))
    send(b"0\r\n\r\n")


def quoted(text: str) -> str:
    """Percent-encoded, for a part of a path or a query: RFC 3986."""
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in text.encode("utf-8", "surrogateescape"))


_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")


def _status(line: bytes) -> int:
    version, _space, rest = line.partition(b" ")
    if not version.startswith(b"HTTP/1.") or not rest[:3].isdigit():
        raise EngineError(0, f"what answers there does not speak HTTP: {line[:80]!r}")
    return int(rest[:3])


def _headers(reader: Reader) -> dict[str, str]:
    found = {}
    while line := reader.line():
        name, _colon, value = line.decode("latin-1").partition(":")
        found[name.strip().lower()] = value.strip()
    return found
