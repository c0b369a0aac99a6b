"""One request to the agent of a machine, served by a process of its own: a program, a tar stream, the machine's end."""

from __future__ import annotations

import fcntl
import json
import os
import select
import socket
import sys
import tarfile
import termios
import time

from envup.namespaces import accounts, executing, outcomes, packing, unpacking
from envup.namespaces.signals import signal
from envup_kvm import power, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NoReturn

_CHUNK = 1 << 17
_F_SETPIPE_SZ = 1031
_PIPE = 1 << 20
"""Bytes that a pipe takes; each that is passed on costs a round through the host's processor."""
_GRACE = 5.0
"""Seconds between a TERM and the KILL for what is left of the program's group."""
_UNREAD = 4 << 20


def serve(connection: socket.socket, facts: Mapping[str, Any]) -> NoReturn:
    """Serve one connection to its end."""
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        _serve(connection, facts)
    except BaseException:
        sys.excepthook(*sys.exc_info())  # to the console
        os._exit(1)
    os._exit(0)


def _serve(connection: socket.socket, facts: Mapping[str, Any]) -> None:
    frames = wire.Frames()
    pending: list[tuple[int, bytes]] = []
    while not pending:
        data = connection.recv(_CHUNK)
        if not data:
            return
        pending = list(frames.feed(data))
    request = json.loads(pending.pop(0)[1])
    if request["verb"] == "end":
        connection.sendall(wire.numbered(wire.ENDED, 0))
        power.off("small" if request["now"] else facts["kind"], request["grace"])
        return
    _Session(connection, frames, _Program(request, facts)).run(pending)


class _Program:
    """A child, and the ends of its streams that are this process's: `streams` are pairs of a descriptor and the kind
    of frame that its bytes become."""

    def __init__(self, request: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        self.input, self.streams, inside = _pipes()
        self.terminal = -1
        if "size" in request:
            self._open_terminal(request, inside)
        self.pid = os.fork()
        if self.pid == 0:
            os._exit(_become(request, facts, inside, terminal=self.terminal >= 0))
        for descriptor in set(inside):
            os.close(descriptor)
        for descriptor in {self.input, *self.streams}:
            os.set_blocking(descriptor, False)
        self.end = os.pidfd_open(self.pid)

    def _open_terminal(self, request: Mapping[str, Any], inside: list[int]) -> None:
        """In place of standard input, and of the other streams that are a terminal of the caller's."""
        self.terminal, slave = os.openpty()
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, bytes.fromhex(request["size"]))
        readers = [self.input, *self.streams]
        for number, is_shown in enumerate([True, *request["shown"]]):
            if is_shown:
                os.close(readers[number])
                os.close(inside[number])
                self.streams.pop(readers[number], None)
                inside[number] = slave
        self.input = self.terminal
        self.streams[self.terminal] = wire.SCREEN


def _pipes() -> tuple[int, dict[int, int], list[int]]:
    ends = [os.pipe() for _stream in range(3)]
    for reader, _writer in ends:
        fcntl.fcntl(reader, _F_SETPIPE_SZ, _PIPE)
    (input_reader, input_writer), (output, out), (errors, err) = ends
    return input_writer, {output: wire.OUTPUT, errors: wire.ERRORS}, [input_reader, out, err]


def _become(request: Mapping[str, Any], facts: Mapping[str, Any], streams: list[int], *, terminal: bool) -> int:
    """What the child does; the exit code where it does not become the program."""
    os.setsid()
    for descriptor, source in enumerate(streams):
        os.dup2(source, descriptor)
    os.closerange(3, 1 << 16)
    if request["verb"] != "run":
        return _transfer(request["verb"], request["path"])
    try:
        account = accounts.find(request["user"].encode("utf-8", "surrogateescape"))
        if terminal:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        for descriptor in (0, 1, 2):
            os.fchown(descriptor, account.uid, -1)
    except accounts.UnknownAccount as error:
        return executing.complain(126, str(error))
    return _execute(request, facts, account)


def _execute(request: Mapping[str, Any], facts: Mapping[str, Any], account: accounts.Account) -> int:
    os.umask(0o022)
    try:
        executing.take_on(account)
    except OSError as error:
        return executing.complain(126, f"cannot become user {account.uid}:{account.gid}: {error.strerror}")
    try:
        executing.go_to(account, _bytes(request["workdir"]))
    except OSError as error:
        return executing.complain(126, f"working directory {request['workdir']}: {error.strerror}")
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    variables = request["defaults"] | facts["environment"] | request["environment"]
    given = {_bytes(name): _bytes(value) for name, value in variables.items()}
    return executing.execute(account, [_bytes(argument) for argument in request["argv"]], given)


def _transfer(verb: str, path: str) -> int:
    """Exit code 0, or 1 with the reason on standard error; a line there with 0 is a warning."""
    os.umask(0)
    try:
        if verb == "pack":
            warnings = packing.pack(path, 1)
        else:
            with open(0, "rb", buffering=0) as stream:
                warnings = unpacking.unpack(path, stream)
    except (OSError, tarfile.TarError, EOFError, ValueError) as error:
        warnings, code = [unpacking.explain(error)], 1
    else:
        code = 0
    os.write(2, "".join(f"{warning}\n" for warning in warnings).encode("utf-8", "surrogateescape"))
    return code


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class _Session:
    """Carries between a connection and a program until the program ends, or the connection does and takes it along."""

    def __init__(self, connection: socket.socket, frames: wire.Frames, program: _Program) -> None:
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
                data = self._connection.recv(_CHUNK)
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
                taken = os.write(self._program.input, self._input[:_CHUNK]) if self._input else 0
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
            data = os.read(stream, _CHUNK)
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
