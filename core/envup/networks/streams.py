"""Forwards TCP connections: one listener of the host, and each connection with its counterpart in the machine.

Bytes move through one buffer that all share. What the slower side does not take is kept, at most one buffer for each
direction, and no more is read until it is gone. The end of one direction is passed on alone; a reset is passed on as
one.
"""

from __future__ import annotations

import _socket

from envup.networks import loop as loops
from envup.networks import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envup.networks.loop import Loop
    from envup.networks.wire import Socket

_BUFFER = memoryview(bytearray(1 << 17))
_AT_ONCE = 64
"""Connections that are accepted before others get their turn."""
_ROUNDS = 8
"""Buffers that a direction moves before others get their turn."""
_RESET = b"\1\0\0\0\0\0\0\0"
"""struct linger: closing sends a reset."""


class Listener:
    """Accepts connections and takes each to (address, port) of the machine, while descriptors below `most` are
    free."""

    __slots__ = ("_is_full", "_loop", "_most", "_pairs", "_socket", "_target")

    def __init__(self, loop: Loop, descriptor: int, target: tuple[str, int], most: int) -> None:
        self._loop, self._target, self._most = loop, target, most
        self._socket = _socket.socket(fileno=descriptor)
        self._socket.setblocking(False)
        self._pairs: set[Pair] = set()
        self._is_full = False
        loop.add(descriptor, self._accept)

    def _accept(self) -> None:
        try:
            for _connection in range(_AT_ONCE):
                client = wire.accept(self._socket)
                self._pairs.add(Pair(self, self._loop, client, self._target))
                if client.fileno() >= self._most:
                    self._is_full = True
                    self._loop.remove(self._socket.fileno())  # until `gone` makes room
                    return
        except OSError:  # nobody there, or he has gone already
            return

    def gone(self, pair: Pair) -> None:
        """A connection has ended."""
        self._pairs.discard(pair)
        if self._is_full:
            self._is_full = False
            self._loop.add(self._socket.fileno(), self._accept)

    def close(self) -> None:
        """End the listener and every connection."""
        self._is_full = False
        self._loop.remove(self._socket.fileno())
        self._socket.close()
        for pair in tuple(self._pairs):
            pair.abort()


class Pair:
    """A client's connection and the one to the machine."""

    __slots__ = ("_both", "_directions", "_listener", "_loop")

    def __init__(self, listener: Listener, loop: Loop, client: Socket, target: tuple[str, int]) -> None:
        machine = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        self._listener, self._loop, self._both = listener, loop, (client, machine)
        self._directions = (Direction(client, machine), Direction(machine, client))
        for each in self._both:
            each.setblocking(False)
            each.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
            each.setsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, 1)
        machine.connect_ex(target)
        loop.add(machine.fileno(), self._established, loops.EDGES)

    def _established(self) -> None:
        """The machine has answered; a refusal reaches the client as a reset."""
        machine = self._both[1]
        if machine.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR):
            self.abort()
            return
        try:
            machine.getpeername()
        except OSError:
            return  # not yet
        self._loop.remove(machine.fileno())
        for each in self._both:
            self._loop.add(each.fileno(), self._move, loops.EDGES)

    def _move(self) -> None:
        try:
            for direction in self._directions:
                if direction.move():
                    self._loop.soon(self._move)
        except OSError:
            self.abort()
            return
        if all(direction.ended for direction in self._directions):
            self._close()

    def abort(self) -> None:
        """Reset both ends."""
        for each in self._both:
            each.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, _RESET)
        self._close()

    def _close(self) -> None:
        self._loop.forget(self._move)
        for each in self._both:
            self._loop.remove(each.fileno())
            each.close()
        self._listener.gone(self)


class Direction:
    """Bytes from one socket to the other."""

    __slots__ = ("_kept", "_sink", "_source", "_source_ended", "ended")

    def __init__(self, source: Socket, sink: Socket) -> None:
        self._source, self._sink = source, sink
        self._kept: bytes | memoryview = b""
        self._source_ended = False
        self.ended = False

    def move(self) -> bool:
        """Move what can be moved; whether there may be more. Errors: `OSError` when one side is gone."""
        try:
            for _round in range(_ROUNDS):
                if self.ended:
                    return False
                self._step()
        except BlockingIOError:
            return False
        return True

    def _step(self) -> None:
        if self._kept:
            sent = self._sink.send(self._kept)
            self._kept = self._kept[sent:] or b""
        elif self._source_ended:
            self._sink.shutdown(_socket.SHUT_WR)
            self.ended = True
        elif count := self._source.recv_into(_BUFFER):
            self._pass(_BUFFER[:count])
        else:
            self._source_ended = True

    def _pass(self, data: memoryview) -> None:
        try:
            sent = self._sink.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self._kept = memoryview(bytes(data[sent:]))
