"""Between a connection and a program of the machine: streams, signals, the terminal's size, the end."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import termios
import time

from envup.namespaces import outcomes
from envup.namespaces.signals import signal
from envup_kvm import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envup_kvm.children import Program

CHUNK = 1 << 17
"""Bytes that are read at once."""
_GRACE = 5.0
"""Seconds between a TERM and the KILL for what is left of the program's group."""
_UNREAD = 4 << 20
"""Bytes that are read from a program that has ended before the caller has to take some."""


class Carrier:
    """Carries between a connection and a program until the program ends, or the connection does and takes it along."""

    def __init__(self, connection: socket.socket, frames: wire.Frames, program: Program) -> None:
        connection.setblocking(False)
        self._connection, self._frames, self._program = connection, frames, program
        self._unsent = bytearray()
        self._input = bytearray()
        self._input_ends = False
        self._deadline: float | None = None
        self._connected = True

    def run(self, first: list[tuple[int, bytes]]) -> None:
        """To the end."""
        for kind, content in first:
            self._take(kind, content)
        while not self._poll():
            pass
        while self._connected and self._program.streams and self._drain():
            pass
        _pid, status = os.waitpid(self._program.pid, 0)
        self._end_group()
        self._unsent += wire.numbered(wire.ENDED, status)
        self._connection.setblocking(True)
        if self._connected:
            self._connection.sendall(self._unsent)
            self._connection.shutdown(socket.SHUT_WR)

    def _poll(self) -> bool:
        """Wait and act; whether the program has ended."""
        poll = select.poll()
        poll.register(self._program.end, select.POLLIN)
        if self._connected:
            poll.register(self._connection, select.POLLIN | (select.POLLOUT if self._unsent else 0))
        both = self._input and self._program.input in self._program.streams
        if not self._unsent:
            for stream in self._program.streams:
                poll.register(stream, select.POLLIN | (select.POLLOUT if both and stream == self._program.input else 0))
        if self._input and (self._unsent or not both):
            poll.register(self._program.input, select.POLLOUT)
        events = dict(poll.poll(self._patience()))
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self._signal(signal.SIGKILL)
        if event := events.get(self._connection.fileno()):
            self._exchange(event)
        if events.get(self._program.input, 0) & ~select.POLLIN:
            self._feed()
        for stream in [stream for stream in self._program.streams if events.get(stream, 0) & ~select.POLLOUT]:
            self._read(stream)
        return self._program.end in events

    def _patience(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic()) * 1000

    def _exchange(self, event: int) -> None:
        try:
            if event & select.POLLOUT:
                self._send()
            if event & ~select.POLLOUT:
                data = self._connection.recv(CHUNK)
                for kind, content in self._frames.feed(data):
                    self._take(kind, content)
                if not data:
                    raise ConnectionResetError
        except BlockingIOError:
            return
        except OSError:
            self._connected = False
            self._unsent.clear()
            self._end_softly()

    def _send(self) -> None:
        del self._unsent[: self._connection.send(self._unsent)]

    def _take(self, kind: int, content: bytes) -> None:
        if kind == wire.INPUT:
            self._input += content
            self._input_ends = self._input_ends or not content
            self._feed()
        elif kind == wire.SIZE and self._program.terminal >= 0:
            fcntl.ioctl(self._program.terminal, termios.TIOCSWINSZ, content)
        elif kind == wire.SIGNAL:
            number = wire.number(content)
            if number == signal.SIGTERM:
                self._end_softly()
            else:
                self._signal(number)

    def _end_softly(self) -> None:
        self._signal(signal.SIGTERM)
        if self._deadline is None:
            self._deadline = time.monotonic() + _GRACE

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self._program.pid, number)
        except ProcessLookupError:
            return

    def _feed(self) -> None:
        """Give the program input; what it does not want any more is dropped."""
        if self._program.input < 0:
            taken = len(self._input)
        else:
            try:
                taken = os.write(self._program.input, self._input[:CHUNK]) if self._input else 0
            except BlockingIOError:
                taken = 0
            except OSError:
                taken = len(self._input)
        del self._input[:taken]
        if taken and self._connected:
            self._unsent += wire.numbered(wire.TAKEN, taken)
        if self._input_ends and not self._input and self._program.terminal < 0 <= self._program.input:
            os.close(self._program.input)
            self._program.input = -1

    def _read(self, stream: int) -> bool:
        """Take what a stream of the program has; False when there is nothing."""
        try:
            data = os.read(stream, CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""  # a terminal whose programs are gone
        if not data:
            del self._program.streams[stream]
        elif self._connected:
            self._unsent += wire.frame(self._program.streams[stream], data)
        return bool(data)

    def _drain(self) -> bool:
        """What the program wrote last. A daemon that keeps the streams open is not waited for."""
        if len(self._unsent) > _UNREAD:
            poll = select.poll()
            poll.register(self._connection, select.POLLIN | select.POLLOUT)
            for _connection, event in poll.poll():
                self._exchange(event)
            return True
        return any(self._read(stream) for stream in list(self._program.streams))

    def _end_group(self) -> None:
        """After a TERM: wait for what the program left in its group, and kill that at the deadline."""
        proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
        while self._deadline is not None and (members := outcomes.group_members(proc, self._program.pid)):
            poll = select.poll()
            for descriptor in members:
                poll.register(descriptor, select.POLLIN)
            poll.poll(self._patience())
            if time.monotonic() >= self._deadline:
                self._signal(signal.SIGKILL)
            for descriptor in members:
                os.close(descriptor)
        os.close(proc)
