"""Following one program of the host from its start to its end: its output as it comes, its exit code, a time limit."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING, BinaryIO

from envup import children
from envup.errors import TransportError

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

_CHUNK = 1 << 16

SUPERVISED = "ENVUP_SUPERVISED"
"""Tells the host command of a provider that envup waits for it: it should end with its parent."""

LINGER = 0.2
"""Seconds without output, after the program has ended, until those who still hold its output are left behind."""

_LONGEST_LINGER = 2.0
"""Seconds that their output is read at most."""


class Followed:
    """How a program ended. `exit_code` is 128 + n after signal n. `held`: a program that it started still holds its
    output."""

    __slots__ = ("exit_code", "held", "timed_out")

    def __init__(self, exit_code: int, *, held: bool, timed_out: bool) -> None:
        self.exit_code, self.held, self.timed_out = exit_code, held, timed_out


def follow(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    stdin: bytes | BinaryIO | None,
    output: Callable[[bytes], None],
    started: Callable[[subprocess.Popen[bytes]], None],
    timeout: float | None,
    directory: Path | None = None,
    descriptors: Sequence[int] = (),
) -> Followed:
    """Run `argv`, in `directory` where one is given and with those `descriptors` open, standard output and error as one
    stream, and give each piece of it to `output`. After `timeout` seconds it is ended with its children. Errors:
    `TransportError` when it cannot be started, `InterruptedByUser`."""
    import subprocess

    with _readable(stdin) as source, ExitStack() as stack:
        variables = {**os.environ, **environment, SUPERVISED: "1"}
        pipes = {"stdin": source, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "pass_fds": descriptors}
        try:
            process = stack.enter_context(children.child(argv, env=variables, cwd=directory, **pipes))
        except OSError as error:
            raise TransportError(f"cannot run {argv[0]}: {error.strerror}") from error
        assert process.stdout is not None
        started(process)
        with process.stdout as stream:
            held, timed_out = _read(process, stream, output, timeout)
        process.wait()
    code = process.returncode
    return Followed(code if code >= 0 else 128 - code, held=held, timed_out=timed_out)


def _read(
    process: subprocess.Popen[bytes], stream: IO[bytes], output: Callable[[bytes], None], timeout: float | None
) -> tuple[bool, bool]:
    """Read until the stream ends, or the process has ended and the stream falls silent: (it is held, time was up)."""
    end = None if timeout is None else time.monotonic() + timeout
    timed_out = False
    pidfd = os.pidfd_open(process.pid)
    poll = select.poll()
    poll.register(stream, select.POLLIN)
    poll.register(pidfd, select.POLLIN)
    try:
        while True:
            ready = {number for number, _ in poll.poll(_left(end))}
            if end is not None and time.monotonic() >= end:
                timed_out, end = True, None
                children.end(process)
            elif pidfd in ready:
                return _drain(stream, output), timed_out
            elif ready:
                if not (data := os.read(stream.fileno(), _CHUNK)):
                    return False, _expires(process, pidfd, end) or timed_out
                output(data)
    finally:
        os.close(pidfd)


def _left(end: float | None) -> float | None:
    return None if end is None else max(0.0, end - time.monotonic()) * 1000


def _expires(process: subprocess.Popen[bytes], pidfd: int, end: float | None) -> bool:
    """Wait for a process that closed its output and runs on; end it when time is up, and say so."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if poll.poll(_left(end)):
        return False
    children.end(process)
    return True


def _drain(stream: IO[bytes], output: Callable[[bytes], None]) -> bool:
    """Read what is left after the program's end; whether somebody still holds the stream then."""
    poll = select.poll()
    poll.register(stream, select.POLLIN)
    end = time.monotonic() + _LONGEST_LINGER
    while time.monotonic() < end and poll.poll(LINGER * 1000):
        data = os.read(stream.fileno(), _CHUNK)
        if not data:
            return False
        output(data)
    return True


@contextmanager
def _readable(stdin: bytes | BinaryIO | None) -> Iterator[int | BinaryIO]:
    """Standard input as a file that needs nobody to feed it. Bytes stay in memory and never touch a disk."""
    import subprocess

    if stdin is None:
        yield subprocess.DEVNULL
    elif isinstance(stdin, bytes):
        with os.fdopen(os.memfd_create("stdin"), "w+b") as file:
            file.write(stdin)
            file.seek(0)
            yield file
    else:
        yield stdin
