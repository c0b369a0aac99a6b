"""Waiting until a machine that boots can run programs, or says on its console that it never will."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from envup import children
from envup.errors import InterruptedByUser
from envup_kvm import link, wire

_FATAL = (b"Kernel panic - not syncing", b"envup: boot: fatal:")
"""What a console says of a machine that will not come up; the first program of a machine that fails ends its kernel."""


_BEGUN = b"envup: boot: begun"
"""What the first program says of a machine that its image does not boot."""


def _is_fatal(line: bytes) -> bool:
    return any(mark in line for mark in _FATAL)


def _text(line: bytes) -> str:
    return line.decode(errors="replace").replace("\r", "").rstrip()


class Console:
    """What a machine says from `start` on, in bytes; a `link.Watch`. Its first program is to have begun within
    `patience`, in seconds; None for one that does not say so."""

    def __init__(self, log: Path, start: int, patience: float | None = None) -> None:
        self._log, self._start = log, start
        self._limit = None if patience is None else time.monotonic() + patience
        self._reader: subprocess.Popen[bytes] | None = None
        self._unended = b""
        self._has_begun = False

    @contextlib.contextmanager
    def followed(self) -> Iterator[Console]:
        """Failures are seen meanwhile, and an interrupt, which ends tail(1). That waits with inotify."""
        line = ("tail", "-c", f"+{self._start + 1}", "-F", "-q", str(self._log))
        quiet = subprocess.DEVNULL
        with children.child(line, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet) as self._reader:
            try:
                with self._output():
                    yield self
            finally:
                self._reader.kill()

    def fileno(self) -> int:
        """See `link.Watch`."""
        return self._output().fileno()

    def failure(self) -> str | None:
        """See `link.Watch`. Errors: `InterruptedByUser`."""
        if not (said := os.read(self.fileno(), 1 << 16)):
            if children.cancelled():
                raise InterruptedByUser("its boot was interrupted")
            return "what its console says cannot be followed"
        *lines, self._unended = (self._unended + said).split(b"\n")
        self._has_begun = self._has_begun or any(_BEGUN in line for line in lines)
        return "its console tells of a failure" if any(map(_is_fatal, lines)) else None

    def is_hung(self) -> bool:
        """See `link.Watch`."""
        return self._limit is not None and time.monotonic() > self._limit and not self._has_begun

    def last_lines(self, count: int) -> list[str]:
        """The newest, of a failure those that lead to it: a kernel that panics goes on to say what helps nobody."""
        with self._log.open("rb") as file:
            file.seek(
                self._start if self._log.stat().st_size >= self._start else 0
            )  # virtlogd begins anew at its limit
            lines = file.read().split(b"\n")
        end = next((number for number, line in enumerate(lines, 1) if _is_fatal(line)), len(lines))
        return list(filter(None, map(_text, lines[:end])))[-count:]

    def mentions(self, mark: str) -> bool:
        """Whether it has said that since then."""
        with self._log.open("rb") as file:
            file.seek(self._start)
            return mark.encode() in file.read()

    def _output(self) -> IO[bytes]:
        assert self._reader is not None and self._reader.stdout is not None
        return self._reader.stdout


def await_machine(place: Path, seconds: float, console: Console | None) -> None:
    """Return when programs run in a machine that was started: its kernel, OpenSSH's server and the agent are up, and so
    is an init that says so. Errors: `link.NoWay`, of which `link.Hung` is known before the time is up."""
    limit = time.monotonic() + seconds
    with link.open_way(str(place), seconds, console) as way:
        try:
            way.sendall(wire.frame(wire.REQUEST, json.dumps({"verb": "ready"}).encode()))
            link.await_ready(way.fileno(), max(0.0, limit - time.monotonic()), console)
            answered = bool(way.recv(1))
        except TimeoutError:
            raise link.NoWay("the init of the image", "it did not say in time that it has booted") from None
        except OSError as error:
            raise link.NoWay("the agent", os.strerror(error.errno or 0)) from error
    if not answered:
        raise link.NoWay("the agent", "it was lost")
