"""Forwards UDP: each client of a port of the host gets a flow, a socket of its own towards the machine, that ends when
it was idle for a while. Datagrams that find no room are dropped, as the network would do."""

from __future__ import annotations

import _socket
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from envup.networks.loop import Loop
    from envup.networks.wire import Socket

IDLE = 90.0
"""Seconds that an idle flow stays (Docker's userland proxy keeps them as long)."""
_MOST_FLOWS = 1024
_MOST_BYTES = 1 << 16
_AT_ONCE = 64
_IP_PKTINFO = 8
_ROOM = _socket.CMSG_SPACE(20)


class Listener:
    """Takes datagrams to (address, port) of the machine, and the answers back, while descriptors below `most` are
    free."""

    __slots__ = ("_flows", "_loop", "_most", "_socket", "_target", "_timed")

    def __init__(self, loop: Loop, descriptor: int, target: tuple[str, int], most: int) -> None:
        self._loop, self._target, self._most = loop, target, most
        self._socket = _socket.socket(fileno=descriptor)
        self._socket.setblocking(False)
        self._flows: dict[Any, Flow] = {}
        self._timed = False
        loop.add(descriptor, self._receive)

    def _receive(self) -> None:
        for _datagram in range(_AT_ONCE):
            try:
                data, beside, _flags, client = self._socket.recvmsg(_MOST_BYTES, _ROOM)
            except OSError:  # nothing there, or the answer to one of ours was refused
                return
            if flow := self._flow(client, _sender(beside)):
                flow.send(data)

    def _flow(self, client: Any, beside: list[tuple[int, int, bytes]]) -> Flow | None:
        """The client's flow, the last in order; None when the machine cannot be reached now."""
        key = (client, *beside)
        flow = self._flows.pop(key, None)
        try:
            flow = flow or Flow(self._loop, self._socket, self._target, client, beside)
        except OSError:
            return None
        self._flows[key] = flow
        if len(self._flows) > _MOST_FLOWS or (flow.descriptor >= self._most and len(self._flows) > 1):
            self._flows.pop(next(iter(self._flows))).close()
        if not self._timed:
            self._timed = True
            self._loop.later(IDLE, self._expire)
        return flow

    def _expire(self) -> None:
        """End what is idle, and come back when the next may be."""
        now = time.monotonic()
        for key, flow in tuple(self._flows.items()):
            if flow.last + IDLE <= now:
                self._flows.pop(key).close()
        self._timed = bool(self._flows)
        if self._timed:
            self._loop.later(min(flow.last for flow in self._flows.values()) + IDLE - now, self._expire)

    def close(self) -> None:
        """End the listener and every flow."""
        self._loop.remove(self._socket.fileno())
        self._socket.close()
        for flow in self._flows.values():
            flow.close()
        self._flows.clear()


class Flow:
    """The way between one client and the machine. `last` is when it was used."""

    __slots__ = ("_beside", "_client", "_front", "_loop", "_machine", "last")

    def __init__(
        self, loop: Loop, front: Socket, target: tuple[str, int], client: Any, beside: list[tuple[int, int, bytes]]
    ) -> None:
        self._loop, self._front, self._client, self._beside = loop, front, client, beside
        self._machine = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
        self._machine.setblocking(False)
        self._machine.connect(target)
        loop.add(self._machine.fileno(), self._answer)
        self.last = time.monotonic()

    @property
    def descriptor(self) -> int:
        """That of its socket."""
        return self._machine.fileno()

    def send(self, data: bytes) -> None:
        """Take a datagram to the machine. A refusal is told here of an earlier one, and this one was not sent then."""
        self.last = time.monotonic()
        try:
            self._machine.send(data)
        except ConnectionRefusedError:
            _drop_if_refused(self._machine.send, data)
        except OSError:
            return

    def _answer(self) -> None:
        for _datagram in range(_AT_ONCE):
            try:
                data = self._machine.recv(_MOST_BYTES)
            except OSError:  # nothing there, or the machine refused
                return
            self.last = time.monotonic()
            _drop_if_refused(self._front.sendmsg, [data], self._beside, 0, self._client)

    def close(self) -> None:
        """End it."""
        self._loop.remove(self._machine.fileno())
        self._machine.close()


def _drop_if_refused(send: Any, *arguments: Any) -> None:
    try:
        send(*arguments)
    except OSError:
        return


def _sender(beside: list[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
    """What to send with an answer so that it comes from the address that the client wrote to (ip(7), ipv6(7)). The
    interface is named for link-local addresses alone; otherwise the answer is routed like any other."""
    found = []
    for level, kind, data in beside:
        if (level, kind) == (_socket.IPPROTO_IP, _IP_PKTINFO):
            found.append((level, kind, bytes(4) + data[8:12] + bytes(4)))
        elif (level, kind) == (_socket.IPPROTO_IPV6, _socket.IPV6_PKTINFO):
            found.append((level, kind, data if data[:2] == b"\xfe\x80" else data[:16] + bytes(4)))
    return found
