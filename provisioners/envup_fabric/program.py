"""A program of the host that runs one of a machine, with pipes or a terminal."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import termios
import threading
from collections.abc import Mapping
from contextlib import ExitStack

from envup import children
from envup.provider import HostCommand
from envup_fabric.streams import Sink, Source

Size = tuple[int, int]
"""Columns and rows of a terminal."""


def supervised(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of a `HostCommand` that is to end with this process."""
    return {**os.environ, **environment, "ENVUP_SUPERVISED": "1"}


class Program:
    """One that was started. `output` and `errors` are what it writes, with a terminal all of it is `output`; `input` is
    what it reads. Threads may share it."""

    def __init__(self, host: HostCommand, size: Size | None = None) -> None:
        """`size` is that of its terminal, None where it gets pipes. Errors: `OSError`, it cannot be started."""
        self._killed, self._terminal, self._lock = False, -1, threading.Lock()
        with ExitStack() as theirs, ExitStack() as ours:
            if size is None:
                reading, writing = zip(*(os.pipe() for _stream in range(3)), strict=True)
                kept, given = (writing[0], *reading[1:]), (reading[0], *writing[1:])
            else:
                self._terminal, slave = os.openpty()
                self.resize(size)
                kept, given = (os.dup(self._terminal), self._terminal), (slave,)
            for stack, descriptors in ((theirs, given), (ours, kept)):
                for descriptor in descriptors:
                    stack.callback(os.close, descriptor)
            self._process = subprocess.Popen(
                host.argv,
                env=supervised(host.environment),
                start_new_session=True,
                preexec_fn=None if size is None else _take_terminal,
                stdin=given[0],
                stdout=given[0 if size else 1],
                stderr=given[0 if size else 2],
            )
            ours.pop_all()
        self._ended = os.pidfd_open(self._process.pid)
        self.input = Sink(kept[0], self._ended)
        self.output, *more = (Source(descriptor, self._ended) for descriptor in kept[1:])
        self.errors = more[0] if more else None

    def __del__(self) -> None:
        if hasattr(self, "errors"):
            self.release()

    def resize(self, size: Size) -> None:
        """Tell its terminal another size."""
        columns, rows = size
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def has_ended(self) -> bool:
        """Whether it has."""
        return self._process.poll() is not None

    def wait(self) -> int:
        """Its exit code, waited for; -1 after a signal, as Paramiko has it, and where it was ended from here."""
        code = self._process.wait()
        return -1 if self._killed or code < 0 else code

    def end(self) -> bool:
        """End it with its children; whether it still ran. What it wrote can be read on."""
        runs = not self.has_ended()
        if runs:
            self._killed = True
            children.end(self._process)
        return runs

    def release(self) -> None:
        """Let go of its streams, once it has ended and nobody reads them. A second call does nothing."""
        for stream in (self.input, self.output, self.errors):
            if stream is not None:
                stream.close()
        with self._lock:
            ended, self._ended, self._terminal = self._ended, -1, -1
        if ended >= 0:
            os.close(ended)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
