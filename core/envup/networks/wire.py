"""Messages between a command and a keeper: a length, then a marshalled mapping, with descriptors beside it.

For both ends, one of which runs in a bare interpreter; imports nothing heavy.
"""

from __future__ import annotations

import _socket
import marshal
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    Socket = _socket.socket

_LENGTH = 4
_MOST_DESCRIPTORS = 64
_VERSION = 2
"""Of marshal; every Python 3 reads it."""


def send(connection: Socket, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send one message. The descriptors travel with its first byte."""
    body = marshal.dumps(message, _VERSION)
    data = len(body).to_bytes(_LENGTH, "little") + body
    if descriptors:
        packed = b"".join(descriptor.to_bytes(4, "little") for descriptor in descriptors)
        sent = connection.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, packed)])
        data = data[sent:]
    connection.sendall(data)


def accept(listener: Any) -> Socket:
    """The next connection. Errors: `BlockingIOError` where there is none, `OSError` where the kernel has no room."""
    return _socket.socket(fileno=listener._accept()[0])


class Inbox:
    """Collects what arrives until messages are whole. Descriptors of a message that never becomes whole are closed by
    `close`."""

    __slots__ = ("_data", "_descriptors")

    def __init__(self) -> None:
        self._data = b""
        self._descriptors: list[int] = []

    def receive(self, connection: Socket) -> bool:
        """Take in what is there; False at the end of the stream."""
        room = _socket.CMSG_SPACE(4 * _MOST_DESCRIPTORS)
        data, beside, _flags, _sender = connection.recvmsg(1 << 16, room, _socket.MSG_CMSG_CLOEXEC)
        for _level, _kind, packed in beside:
            numbers = range(0, len(packed) - len(packed) % 4, 4)
            self._descriptors += [int.from_bytes(packed[at : at + 4], "little") for at in numbers]
        self._data += data
        return bool(data)

    def messages(self) -> Iterator[tuple[dict[str, Any], list[int]]]:
        """Every whole message with its descriptors, which the caller owns. A sender waits for an answer before it sends
        the next, so all descriptors that are there belong to the one that is whole."""
        while len(self._data) >= _LENGTH:
            end = _LENGTH + int.from_bytes(self._data[:_LENGTH], "little")
            if len(self._data) < end:
                return
            body, self._data = self._data[_LENGTH:end], self._data[end:]
            descriptors, self._descriptors = self._descriptors, []
            yield marshal.loads(body), descriptors

    def close(self) -> None:
        """Close descriptors that nobody took."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()
