"""Bytes between a channel of the client and a pair of streams, neither faster than the other takes them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import asyncssh

_PIECE = 1 << 17
_HELD = 1 << 20
"""Bytes of the client's that wait for a slow reader before the client must."""


class Carrier:
    """The side of a session that asyncssh calls. `feed` gives it the stream that takes what the client sends."""

    def __init__(self) -> None:
        self._writable = asyncio.Event()
        self._writable.set()
        self._sink: asyncio.StreamWriter | None = None
        self._early: list[bytes | None] = []
        self._draining: asyncio.Task[None] | None = None
        self.channel: Any = None

    def connection_made(self, chan: Any) -> None:
        """See `asyncssh.SSHServerSession`."""
        self.channel = chan

    def pause_writing(self) -> None:
        """See `asyncssh.SSHServerSession`."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """See `asyncssh.SSHServerSession`."""
        self._writable.set()

    def data_received(self, data: bytes, _datatype: int | None = None) -> None:
        """See `asyncssh.SSHServerSession`."""
        if self._sink is None:
            self._early.append(data)
            return
        self._sink.write(data)
        if self._draining is None and self._sink.transport.get_write_buffer_size() > _HELD:
            self.channel.pause_reading()
            self._draining = asyncio.create_task(self._drain())

    def eof_received(self) -> bool:
        """See `asyncssh.SSHServerSession`. The other direction stays open."""
        if self._sink is None:
            self._early.append(None)
        else:
            self.end_input(self._sink)
        return True

    def end_input(self, sink: asyncio.StreamWriter) -> None:
        """The client sends no more."""
        with contextlib.suppress(OSError):
            sink.write_eof()

    def feed(self, sink: asyncio.StreamWriter) -> None:
        """Let `sink` have what the client sends, and has sent."""
        self._sink = sink
        for data in self.early():
            if data is None:
                self.end_input(sink)
            else:
                self.data_received(data)

    def early(self) -> list[bytes | None]:
        """What the client has sent so far, None for the end; it is given once."""
        early, self._early = self._early, []
        return early

    async def carry(self, source: asyncio.StreamReader, datatype: int | None = None) -> None:
        """Send the client all that comes from `source`."""
        with contextlib.suppress(OSError):  # a terminal that nobody has open any more
            while data := await source.read(_PIECE):
                await self._writable.wait()
                if self.channel.is_closing():
                    return
                self.channel.write(data, datatype)

    async def _drain(self) -> None:
        assert self._sink is not None
        with contextlib.suppress(OSError):  # the program reads no more; its end is told
            await self._sink.drain()
        self._draining = None
        self.channel.resume_reading()


class Forwarded(Carrier, asyncssh.SSHTCPSession[bytes]):
    """A connection of the client's into the machine's own network."""

    def __init__(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        super().__init__()
        self._source, self._target = source, sink
        self._halves = 2

    def session_started(self) -> None:
        """See `asyncssh.SSHTCPSession`."""
        self.feed(self._target)
        self._carrying = asyncio.create_task(self._carry_back())

    async def _carry_back(self) -> None:
        await self.carry(self._source)
        if not self.channel.is_closing():
            self.channel.write_eof()
        self._end_half()

    def end_input(self, sink: asyncio.StreamWriter) -> None:
        """See `Carrier`."""
        super().end_input(sink)
        self._end_half()

    def _end_half(self) -> None:
        """The connection ends when both sides have said all."""
        self._halves -= 1
        if not self._halves:
            self.channel.close()

    def connection_lost(self, _error: Exception | None) -> None:
        """See `asyncssh.SSHTCPSession`."""
        self._carrying.cancel()
        self._target.close()
