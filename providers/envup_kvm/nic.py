"""A machine's network card as its keeper sees it: QEMU's stream of frames, and a tap device that is a port of a bridge.

QEMU connects when it starts and stays connected to its end, also when the machine restarts itself: the connection is
the sign that the machine lives. Each frame has its length before it, 32 bits, the highest first (qemu(1), -netdev
stream; net/stream.c). What QEMU does not take is kept, at most one batch, and the tap is not read until it is gone:
then it is the kernel that drops, as it does for a card that is slow.
"""

from __future__ import annotations

import _socket
import fcntl
import os
import select
import sys

from envup.networks import bridge, commands, wire
from envup.networks.loop import READ
from envup.networks.members import Life

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from envup.networks.commands import Connection
    from envup.networks.loop import Loop
    from envup.networks.wire import Socket

LONGEST = 4096 + 65536
"""Bytes of a frame: NET_BUFSIZE of QEMU's include/net/net.h."""
_HEAD = 4
_BATCH = 64
"""Frames that are taken from the tap at once."""
_BUFFER = 1 << 18
_PATIENCE = 10.0
"""Seconds that QEMU has to connect; it does so before the machine's first instruction."""
_SET_IFF, _TAP, _NO_INFORMATION = 0x400454CA, 0x0002, 0x1000
"""TUNSETIFF, IFF_TAP and IFF_NO_PI of linux/if_tun.h."""


class Nic(Life):
    """A card that QEMU is to connect to at the socket `listener`. `connected` is called when it has, `ended` when it is
    gone."""

    __slots__ = (
        "_buffer",
        "_connected",
        "_ended",
        "_filled",
        "_link",
        "_listener",
        "_loop",
        "_tap",
        "_unsent",
        "waiting",
    )

    def __init__(
        self, loop: Loop, listener: Socket, tap: int, connected: Callable[[], object], ended: Callable[[], None]
    ) -> None:
        self._loop, self._listener, self._tap = loop, listener, tap
        self._connected, self._ended = connected, ended
        self._link: Socket | None = None
        self._buffer, self._filled = memoryview(bytearray(_BUFFER)), 0
        self._unsent: bytes | memoryview = b""
        self.waiting: list[Callable[[], None]] = []
        listener.setblocking(False)
        loop.add(listener.fileno(), self._accept)

    @property
    def is_connected(self) -> bool:
        """Whether QEMU is there."""
        return self._link is not None

    def kill(self) -> None:
        """See `Life`: what QEMU has no use for any more."""
        self._ended()

    def close(self) -> None:
        """See `Life`."""
        for each in (self._listener, self._link):
            if each is not None:
                self._loop.remove(each.fileno())
                each.close()
        self._loop.remove(self._tap)
        os.close(self._tap)

    def _accept(self) -> None:
        try:
            self._link = wire.accept(self._listener)
        except OSError:  # it has gone already
            return
        self._loop.remove(self._listener.fileno())
        self._listener.close()
        self._link.setblocking(False)
        self._loop.add(self._link.fileno(), self._receive)
        self._loop.add(self._tap, self._send)
        self._connected()
        for callback in self.waiting:
            callback()
        self.waiting.clear()

    def _receive(self) -> None:
        """Take what QEMU sent to the tap."""
        assert self._link is not None, "nobody else sends"
        try:
            if self._unsent:
                self._resume(self._link)
            count = self._link.recv_into(self._buffer[self._filled :])
        except BlockingIOError:
            return
        except OSError:
            count = 0
        if count == 0 or not self._unpack(self._filled + count):
            self._ended()

    def _unpack(self, end: int) -> bool:
        """Pass on what is whole, and keep the rest; False when what is there is no stream of frames."""
        at, buffer = 0, self._buffer
        while end - at >= _HEAD:
            after = at + _HEAD + int.from_bytes(buffer[at : at + _HEAD], "big")
            if after - at > _HEAD + LONGEST:
                return False
            if after > end:
                break
            _write(self._tap, buffer[at + _HEAD : after])
            at = after
        self._filled = end - at
        buffer[: self._filled] = bytes(buffer[at:end])
        return True

    def _send(self) -> None:
        """Give QEMU what the bridge has for it."""
        assert self._link is not None, "the tap is not read before"
        parts: list[bytes] = []
        try:
            while len(parts) < 2 * _BATCH:
                frame = os.read(self._tap, LONGEST)
                parts += (len(frame).to_bytes(_HEAD, "big"), frame)
        except BlockingIOError:
            pass  # that was all
        except OSError:  # the bridge is gone, somebody's doing
            self._ended()
            return
        try:
            sent = self._link.sendmsg(parts)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._ended()
            return
        if sent < sum(map(len, parts)):
            self._unsent = memoryview(b"".join(parts))[sent:]
            self._loop.remove(self._tap)
            self._watch(self._link, READ | select.EPOLLOUT)

    def _resume(self, link: Socket) -> None:
        """Send what was kept, and read the tap again when it is gone. Errors: `OSError`."""
        try:
            self._unsent = self._unsent[link.send(self._unsent) :]
        except BlockingIOError:
            return
        if not self._unsent:
            self._watch(link, READ)
            self._loop.add(self._tap, self._send)

    def _watch(self, link: Socket, events: int) -> None:
        self._loop.remove(link.fileno())
        self._loop.add(link.fileno(), self._receive, events)


def _write(tap: int, frame: memoryview) -> None:
    """What is too short for a frame, or finds no room, is dropped."""
    try:
        os.write(tap, frame)
    except OSError:
        return


def attach(command: Connection, request: dict[str, Any], descriptors: list[int]) -> None:
    """Make the card of a machine on the bridge `bridge`, to which QEMU connects at the socket that comes along. Until
    it does, the card is the command's, whose end is its end."""
    keeper, name = command.keeper, request["machine"]
    command.touched.add(name)

    def begin() -> Nic:
        tap = _tap(request["bridge"])
        listener = _socket.socket(fileno=os.dup(descriptors[0]))
        settle = keeper.members.settle
        return Nic(keeper.loop, listener, tap, lambda: settle(name), lambda: keeper.members.ended(name))

    try:
        keeper.members.add(name, command, begin)
        command.answer({})
    except OSError as error:
        command.answer({"error": f"cannot make the network card of machine '{name}': {error.strerror or error}"})
    finally:
        commands.close(descriptors)


def attached(command: Connection, request: dict[str, Any], _descriptors: list[int]) -> None:
    """Answer when QEMU has connected."""
    keeper, name = command.keeper, request["machine"]
    missing = {"error": f"the network card of machine '{name}' is not plugged in", "hint": request["hint"]}
    card = keeper.members.life(name)
    if not isinstance(card, Nic):
        command.answer(missing)
    elif card.is_connected:
        command.answer({})
    else:
        answers = [missing, {}]

        def answer(which: int) -> None:
            if answers:
                command.answer(answers[which])
                answers.clear()

        card.waiting.append(lambda: answer(1))
        keeper.loop.later(_PATIENCE, lambda: answer(0))


def _tap(port_of: str) -> int:
    """A new tap device that is a port of a bridge and as long-lived as its descriptor. Errors: `OSError`."""
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        wanted = b"envup%d".ljust(16, b"\0") + (_TAP | _NO_INFORMATION).to_bytes(2, sys.byteorder)
        made = fcntl.ioctl(tap, _SET_IFF, wanted.ljust(40, b"\0"))
        bridge.add(made[:16].rstrip(b"\0").decode(), port_of)
    except OSError:
        os.close(tap)
        raise
    return tap
