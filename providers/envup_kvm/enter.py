"""Runs a program in a running machine and stands in for it: `enter KEY=VALUE… -- PROGRAM ARGUMENT…`.

Called by the line that `commands.enter` gives. Signals that reach this process go on to the program's process group;
its end, exit code or signal, becomes this process's own. 125: the machine cannot be reached; 126, 127: the program
cannot be executed, is not found. With `verb=pack` or `verb=unpack` a tar stream of `path` is made or taken instead.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import socket

from envup.namespaces import outcomes, terminal
from envup.namespaces.signals import signal
from envup.namespaces.variables import unpacked
from envup_kvm import link, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CHUNK = 1 << 17
_PIECE = 4096
"""Bytes that a pipe which is ready takes without waiting: pipe(7)."""
_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def main(arguments: list[str]) -> int:
    """See the module."""
    split = arguments.index("--")
    values = dict(argument.partition("=")[::2] for argument in arguments[:split])
    parent = os.pidfd_open(os.getppid()) if b"ENVUP_SUPERVISED" in os.environb else -1
    try:
        connection = link.open_way(values["place"], None)
    except link.NoWay as error:
        os.write(2, f"envup: the machine cannot be reached, {error.stage} fails: {error}\n".encode())
        return 125
    screen = terminal.Screen() if values["terminal"] == "1" and os.isatty(0) else None
    try:
        connection.sendall(
            wire.frame(wire.REQUEST, json.dumps(_request(values, arguments[split + 1 :], screen)).encode())
        )
        status = _Relay(connection, screen, parent).run()
    except OSError:
        status = None
    if status is None:
        os.write(2, b"envup: the machine was lost while the program ran\n")
        return 125
    return outcomes.end_like(status)


def _request(values: dict[str, str], argv: list[str], screen: terminal.Screen | None) -> dict[str, Any]:
    environment = {_text(name): _text(value) for name, value in unpacked(os.environb).items()}
    defaults = {"TERM": _text(os.environb[b"TERM"])} if screen is not None and b"TERM" in os.environb else {}
    terminal = {} if screen is None else {"size": screen.size().hex(), "shown": [os.isatty(1), os.isatty(2)]}
    return {**values, "argv": argv, "environment": environment, "defaults": defaults, **terminal}


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _noted(_number: int, _frame: object) -> None:
    """The wakeup descriptor has it."""


class _Relay:
    """Carries streams, signals and the size of the terminal."""

    def __init__(self, connection: socket.socket, screen: terminal.Screen | None, parent: int) -> None:
        self._connection, self._screen, self._parent = connection, screen, parent
        connection.setblocking(False)
        self._frames = wire.Frames()
        self._unsent = bytearray()
        self._unwritten: list[tuple[int, memoryview]] = []
        self._window = wire.WINDOW
        self._wants_input = True
        self._status: int | None = None
        self._signals, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in (*_FORWARDED, signal.SIGTSTP, signal.SIGWINCH):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _noted)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    def run(self) -> int | None:
        """The program's wait status; None when the machine was lost. Errors: `OSError`."""
        if self._screen is not None:
            self._screen.take()
        try:
            while self._status is None or self._unwritten:
                if not self._turn():
                    return None
        except BrokenPipeError:
            return signal.SIGPIPE
        finally:
            if self._screen is not None:
                self._screen.release()
        return self._status

    def _turn(self) -> bool:
        poll = select.poll()
        poll.register(self._signals, select.POLLIN)
        if self._parent >= 0:
            poll.register(self._parent, select.POLLIN)
        if self._unwritten:
            poll.register(self._unwritten[0][0], select.POLLOUT)
        poll.register(
            self._connection, (0 if self._unwritten else select.POLLIN) | (select.POLLOUT if self._unsent else 0)
        )
        if self._wants_input and self._window > 0 and not self._unsent:
            poll.register(0, select.POLLIN)
        events = dict(poll.poll())
        if self._signals in events:
            for number in os.read(self._signals, 256):
                self._handle(number)
        if self._parent in events:
            self._parent = -1
            self._forward(signal.SIGTERM)
        if self._unwritten and self._unwritten[0][0] in events:
            self._write()
        if 0 in events and self._wants_input:
            self._read_input()
        return self._exchange(events.get(self._connection.fileno(), 0))

    def _exchange(self, event: int) -> bool:
        """False at the end of the connection before that of the program."""
        try:
            if event & select.POLLOUT and self._unsent:
                del self._unsent[: self._connection.send(self._unsent)]
            if event & ~select.POLLOUT and not self._unwritten:
                data = self._connection.recv(_CHUNK)
                for kind, content in self._frames.feed(data):
                    self._take(kind, content)
                return bool(data) or self._status is not None
        except BlockingIOError:
            return True
        return True

    def _take(self, kind: int, content: bytes) -> None:
        if kind == wire.TAKEN:
            self._window += wire.number(content)
        elif kind == wire.ENDED:
            self._status = wire.number(content)
        elif kind == wire.SCREEN:
            self._unwritten.append((1 if os.isatty(1) else 0, memoryview(content)))
        elif content:
            self._unwritten.append((1 if kind == wire.OUTPUT else 2, memoryview(content)))

    def _write(self) -> None:
        descriptor, data = self._unwritten[0]
        try:
            written = os.write(descriptor, data[:_PIECE])
        except OSError as error:
            if self._screen is None or error.errno != errno.EIO:
                raise
            written = len(data)  # the terminal hung up: SIGHUP, which comes with it, goes on to the program
        if written == len(data):
            self._unwritten.pop(0)
        else:
            self._unwritten[0] = descriptor, data[written:]

    def _read_input(self) -> None:
        try:
            data = os.read(0, min(_CHUNK, self._window))
        except OSError:
            data = b""
        self._window -= len(data)
        if not data:
            self._wants_input = False
            if self._screen is not None:
                return
        self._unsent += wire.frame(wire.INPUT, data)

    def _handle(self, number: int) -> None:
        if number == signal.SIGWINCH:
            if self._screen is not None:
                with contextlib.suppress(OSError):  # as it hangs up
                    self._unsent += wire.frame(wire.SIZE, self._screen.size())
        elif number == signal.SIGTSTP:
            self._pause()
        else:
            self._forward(number)

    def _forward(self, number: int) -> None:
        self._unsent += wire.numbered(wire.SIGNAL, number)

    def _pause(self) -> None:
        """Stop the program and this process with it, until somebody continues this one."""
        self._connection.setblocking(True)
        self._connection.sendall(self._unsent + wire.numbered(wire.SIGNAL, signal.SIGSTOP))
        self._unsent.clear()
        if self._screen is not None:
            self._screen.release()
        os.kill(os.getpid(), signal.SIGSTOP)
        if self._screen is not None:
            self._screen.take()
        self._connection.setblocking(False)
        self._forward(signal.SIGCONT)
