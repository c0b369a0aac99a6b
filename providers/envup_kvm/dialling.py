"""Connections into a machine's own network: `dial` asks the agent for one, `serve` is what the agent does then.

For the programs in a machine as well; imports nothing heavy.
"""

from __future__ import annotations

import errno
import json
import os
import socket

from envup.networks import loop as loops
from envup.networks.streams import Direction
from envup_kvm import link, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_ANSWER = len(wire.numbered(wire.ENDED, 0))


def dial(place: str, port: int, addresses: Sequence[str], timeout: float) -> socket.socket:
    """A connection to the first of the addresses that takes it. Errors: `OSError` of the first address, `NoWay`."""
    way = link.open_way(place, timeout)
    try:
        way.settimeout(timeout)
        request = {"verb": "dial", "port": port, "addresses": list(addresses), "seconds": timeout}
        way.sendall(wire.frame(wire.REQUEST, json.dumps(request).encode()))
        answer = b""
        while len(answer) < _ANSWER:  # what comes after it is the connection's
            part = way.recv(_ANSWER - len(answer))
            if not part:
                raise link.NoWay("the agent", "the connection was closed")
            answer += part
        ((_kind, content),) = wire.Frames().feed(answer)
        if number := wire.number(content):
            raise OSError(number, os.strerror(number))
    except BaseException:
        way.close()
        raise
    return way


def serve(way: socket.socket, request: Mapping[str, Any]) -> None:
    """Connect, answer 0 or the error's number, and carry to the end of both directions."""
    found = _connected(request["addresses"], request["port"], request["seconds"])
    way.sendall(wire.numbered(wire.ENDED, found if isinstance(found, int) else 0))
    if isinstance(found, int):
        return
    try:
        _carry(way, found)
    except OSError:  # one side is gone, and with this process so is the other
        return


def _connected(addresses: Sequence[str], port: int, seconds: float) -> socket.socket | int:
    """A connection, or the number of the first error."""
    refusals = []
    for address in addresses:
        try:
            return socket.create_connection((address, port), seconds)
        except OSError as error:
            refusals.append(error.errno or errno.ETIMEDOUT)
    return refusals[0]


def _carry(one: socket.socket, other: socket.socket) -> None:
    directions = Direction(one, other), Direction(other, one)
    loop = loops.Loop()

    def move() -> None:
        for direction in directions:
            if direction.move():
                loop.soon(move)

    for each in (one, other):
        each.setblocking(False)
        loop.add(each.fileno(), move, loops.EDGES)
    while not all(direction.ended for direction in directions):
        loop.turn()
