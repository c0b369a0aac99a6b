"""Carrying bytes and signals between this process and a program in a container."""

from __future__ import annotations

import os
import select
import time

from envup.namespaces.signals import signal
from envup_docker import errands

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from envup_docker.execs import Exec
    from envup_docker.screen import Screen
    from envup_docker.streams import Frames, Whole

_CHUNK = 1 << 18
_PIECE = 4096
"""Bytes that a pipe which is ready takes without waiting: pipe(7)."""

_LINGER = 3.0
"""Seconds that output of a program which was to end is waited for, or waits for a reader. An engine holds it open for
two when a program outside the group still has it."""

_NAMES: dict[int, str] = {
    signal.SIGTERM: "TERM",
    signal.SIGHUP: "HUP",
    signal.SIGINT: "INT",
    signal.SIGQUIT: "QUIT",
    signal.SIGUSR1: "USR1",
    signal.SIGUSR2: "USR2",
}


class Signals:
    """Signals that reach this process, as bytes of a pipe. What the caller ignores (nohup) stays ignored."""

    __slots__ = ("reading",)

    def __init__(self) -> None:
        self.reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in (*_NAMES, signal.SIGTSTP, signal.SIGWINCH):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _noted)

    def arrived(self) -> bytes:
        """Their numbers; nothing when there are none."""
        try:
            return os.read(self.reading, 256)
        except BlockingIOError:
            return b""


def _noted(_number: int, _frame: object) -> None:
    """The wakeup descriptor has it."""


class Relay:
    """Stands in for a program until its streams end; `sent` are the signals that were forwarded to it."""

    __slots__ = (
        "_errands", "_exec", "_frames", "_given_up", "_parent", "_pending", "_poll", "_reads", "_screen", "_signals",
        "_target", "_unread", "sent",
    )  # fmt: skip

    def __init__(
        self,
        program: Exec,
        frames: Frames | Whole,
        target: errands.Target,
        signals: Signals,
        screen: Screen | None,
        parent: int | None,
    ) -> None:
        """`parent` is a descriptor of the process whose end is taken for a TERM, None where there is none."""
        self._exec, self._target, self._signals, self._screen = program, target, signals, screen
        self._frames = frames
        self._errands: dict[int, tuple[int, errands.Errand]] = {}
        self._given_up: float | None = None
        self._pending = b""
        self._parent = -1 if parent is None else parent
        self._reads = True
        self._unread = False
        self.sent: set[int] = set()
        self._poll = select.poll()
        for descriptor in (0, program.stream.fileno(), signals.reading):
            self._poll.register(descriptor, select.POLLIN)
        if parent is not None:
            self._poll.register(parent, select.POLLIN)

    def run(self) -> bool:
        """Until the program's streams end, and after a TERM nothing of its group is left. False where they do not end,
        although the program was to. Errors: `EngineError`; `BrokenPipeError` when nobody reads what the program says.
        """
        alive = True
        while (alive and not self._late()) or signal.SIGTERM in {number for number, _ in self._errands.values()}:
            for descriptor, event in self._poll.poll(_left(self._given_up)):
                if descriptor == self._exec.stream.fileno():
                    alive = self._exchange(event)
                elif descriptor == 0:
                    if alive:
                        self._read_input()
                else:
                    self._attend(descriptor)
        return not alive

    def _exchange(self, event: int) -> bool:
        if event & select.POLLOUT:
            self._send()
        if not event & ~select.POLLOUT:
            return True
        data = self._exec.stream.recv(_CHUNK)
        for descriptor, piece in self._frames.feed(data):
            self.write(descriptor, piece)
        if not data:
            self._poll.unregister(self._exec.stream.fileno())
            self._want_input(wanted=False)
        return bool(data)

    def _attend(self, descriptor: int) -> None:
        """Signals, errands, and the end of the parent."""
        if descriptor == self._signals.reading:
            for number in self._signals.arrived():
                self._handle(number)
        elif descriptor == self._parent:
            self._poll.unregister(descriptor)
            self._parent = -1
            self._handle(signal.SIGTERM)
        elif descriptor in self._errands:
            self._go_on(descriptor)

    def _go_on(self, descriptor: int) -> None:
        number, errand = self._errands.pop(descriptor)
        self._poll.unregister(descriptor)
        if errand.move():
            self._errands[errand.fileno()] = number, errand
            self._poll.register(errand.fileno(), select.POLLIN)
        elif number == signal.SIGTERM:
            self._given_up = time.monotonic() + _LINGER

    def _handle(self, number: int) -> None:
        if number == signal.SIGWINCH:
            if self._screen is not None:
                self._exec.resize(*self._screen.size())
        elif number == signal.SIGTSTP:
            self._pause()
        elif number != signal.SIGTERM or number not in self.sent:
            self._forward(number)

    def _forward(self, number: int) -> None:
        self.sent.add(number)
        grace = errands.GRACE if number == signal.SIGTERM else 0.0
        errand = errands.Errand(self._target, _NAMES[number], grace=grace)
        self._errands[errand.fileno()] = number, errand
        self._poll.register(errand.fileno(), select.POLLIN)

    def _pause(self) -> None:
        """Stop the program and this process with it, until somebody continues this one."""
        errands.Errand(self._target, "STOP").finish()
        if self._screen is not None:
            self._screen.release()
        os.kill(os.getpid(), signal.SIGSTOP)
        if self._screen is not None:
            self._screen.take()
        errands.Errand(self._target, "CONT").finish()

    def _read_input(self) -> None:
        try:
            data = os.read(0, _CHUNK >> 2)
        except OSError:
            data = b""
        self._pending += data
        if data:
            self._send()
            return
        self._want_input(wanted=False)
        if self._screen is None:
            self._exec.stream.half_close()

    def _send(self) -> None:
        """Send pending input; while some is left, no more is read. What a program does not read is dropped."""
        try:
            sent = self._exec.stream.send(self._pending)
        except BlockingIOError:
            sent = 0
        except OSError:
            sent = len(self._pending)
        self._pending = self._pending[sent:]
        self._poll.modify(self._exec.stream.fileno(), select.POLLIN | (select.POLLOUT if self._pending else 0))
        self._want_input(wanted=not self._pending)

    def _want_input(self, *, wanted: bool) -> None:
        if wanted and not self._reads:
            self._poll.register(0, select.POLLIN)
        elif self._reads and not wanted:
            self._poll.unregister(0)
        self._reads = wanted

    def write(self, descriptor: int, data: memoryview) -> None:
        """Write as the reader takes it, attending to signals meanwhile."""
        while data and self._writable(descriptor):
            data = data[os.write(descriptor, data[:_PIECE]) :]

    def _writable(self, descriptor: int) -> bool:
        """Wait until a piece can be written. False where nobody takes the output of a program that was to end: an
        engine tells no program's end before it has got rid of what another one of the container said."""
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        if poll.poll(0):
            return True
        since = time.monotonic()
        while not (self._late() or self._unread):
            for other in self._others():
                poll.register(other, select.POLLIN)
            end = since + _LINGER if signal.SIGTERM in self.sent else None
            for ready in {ready for ready, _event in poll.poll(_left(end, self._given_up))}:
                if ready == descriptor:
                    return True
                poll.unregister(ready)
                self._attend(ready)
            self._unread = end is not None and time.monotonic() >= end
        return False

    def _others(self) -> Iterator[int]:
        yield self._signals.reading
        if self._parent >= 0:
            yield self._parent
        yield from self._errands

    def _late(self) -> bool:
        return self._given_up is not None and time.monotonic() >= self._given_up


def _left(*ends: float | None) -> float | None:
    """Milliseconds until the first of them, None when there is none."""
    known = [end for end in ends if end is not None]
    return max(0.0, min(known) - time.monotonic()) * 1000 if known else None
