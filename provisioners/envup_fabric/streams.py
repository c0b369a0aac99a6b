"""The ends of pipes and terminals that a program of the host has on its other side."""

from __future__ import annotations

import errno
import os
import select
import sys
import threading
import time

LINGER = 0.2
"""Seconds without output, after the program has ended, until those who still hold its output are left behind."""
_LONGEST_LINGER = 2.0
"""Seconds that their output is waited for at most."""
_LEFT = 1 << 20
"""Bytes that are read after that at most: what the program had written before is no more, pipe(7)."""
_HELD = "envup: a program that was left running still holds its output, which is not read any more; redirect it\n"


class Source:
    """What a program writes. `ended` is a descriptor that can be read once the program has ended."""

    def __init__(self, descriptor: int, ended: int) -> None:
        self._descriptor, self._ended = descriptor, ended
        self._open, self._until, self._lock = True, 0.0, threading.Lock()
        self._left = _LEFT

    def read(self, size: int) -> bytes:
        """What has come, waited for; nothing at the end."""
        with self._lock:
            return self._read(size) if self._open else b""

    def close(self) -> None:
        """Read no more; waits for who reads. A second call does nothing."""
        with self._lock:
            if self._open:
                self._open = False
                os.close(self._descriptor)

    def _read(self, size: int) -> bytes:
        if not self._wait():
            sys.stderr.write(_HELD)
            return b""
        try:
            data = os.read(self._descriptor, size)
            self._left -= len(data) if self._is_late() else 0
            return data
        except OSError as error:
            if error.errno != errno.EIO:  # a terminal that nobody has open any more
                raise
            return b""

    def _wait(self) -> bool:
        """Whether there is something to read, or the end of all."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        poll.register(self._ended, select.POLLIN)
        ready = {descriptor for descriptor, _event in poll.poll()}
        if self._ended not in ready:
            return True
        self._until = self._until or time.monotonic() + _LONGEST_LINGER
        poll.unregister(self._ended)
        if self._is_late():
            return self._left > 0 and bool(poll.poll(0))
        return bool(poll.poll(LINGER * 1000))

    def _is_late(self) -> bool:
        return bool(self._until) and time.monotonic() > self._until


class Sink:
    """What a program reads. What it does not read any more is dropped, as SSH does it."""

    def __init__(self, descriptor: int, ended: int) -> None:
        self._descriptor, self._ended = descriptor, ended
        self._open, self._lock = True, threading.Lock()
        os.set_blocking(descriptor, False)

    def write(self, data: bytes) -> None:
        """Returns when it is taken, or the program has ended."""
        with self._lock:
            left = memoryview(data)
            while left and self._open and self._wait():
                try:
                    left = left[os.write(self._descriptor, left) :]
                except BlockingIOError:
                    continue
                except OSError as error:
                    if error.errno not in (errno.EPIPE, errno.EIO):
                        raise
                    return

    def close(self) -> None:
        """Its input ends. A second call does nothing."""
        with self._lock:
            if self._open:
                self._open = False
                os.close(self._descriptor)

    def _wait(self) -> bool:
        """Whether the program still runs, once it can take more."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        poll.register(self._ended, select.POLLIN)
        return self._ended not in {descriptor for descriptor, _event in poll.poll()}
