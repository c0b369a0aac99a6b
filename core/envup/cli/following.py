"""Logs as they grow: what several programs print, line by line, until the user or the reader has enough."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence

from envup.cli.answer import write
from envup.errors import EnvupError
from envup.provider import HostCommand
from envup.report.text import clean
from envup.shim import give_back_signals, original_environment

TAIL = ("tail", "--lines=+1", "--follow=name", "--retry", "--")
"""tail(1) of GNU coreutils waits with inotify."""
_CHUNK = 1 << 16


def follow(commands: Sequence[tuple[str, HostCommand]]) -> int:
    """Show what the commands print, each line of several with the name of its command before it; the exit code. One
    alone without a terminal is this process's own from then on. Errors: `EnvupError` for a command that cannot be run;
    `BrokenPipeError` when nobody reads any more. All commands have ended then."""
    if len(commands) == 1 and not sys.stdout.isatty():
        _become(commands[0][1])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with contextlib.ExitStack() as stack:
        processes = []
        for _name, command in commands:
            processes.append(stack.enter_context(started(command)))
            stack.callback(processes[-1].terminate)
        _relay([name if len(commands) > 1 else "" for name, _command in commands], processes)
        return max(_shell_code(process.wait()) for process in processes)


def started(command: HostCommand) -> subprocess.Popen[bytes]:
    """The command, its output a pipe. Errors: `EnvupError`."""
    environment = {**original_environment(), **command.environment}
    try:
        return subprocess.Popen(command.argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment)
    except OSError as error:
        raise _cannot_run(command, error) from error


def show(lines: Iterable[bytes]) -> None:
    """Print lines: on a terminal without control characters, else byte for byte."""
    if sys.stdout.isatty():
        for line in lines:
            write(clean(line.decode(errors="replace").rstrip("\r\n")) + "\n")
        return
    sys.stdout.flush()
    sys.stdout.buffer.writelines(lines)
    sys.stdout.buffer.flush()


def _become(command: HostCommand) -> None:
    sys.stdout.flush()
    give_back_signals()
    try:
        os.execvpe(command.argv[0], list(command.argv), {**original_environment(), **command.environment})
    except OSError as error:
        raise _cannot_run(command, error) from error


def _cannot_run(command: HostCommand, error: OSError) -> EnvupError:
    hint = "it belongs to GNU coreutils" if command.argv[0] == TAIL[0] else ""
    return EnvupError(f"cannot run {command.argv[0]}: {error.strerror}", hint=hint)


def _relay(names: Sequence[str], processes: Sequence[subprocess.Popen[bytes]]) -> None:
    with selectors.DefaultSelector() as selector:
        for name, process in zip(names, processes, strict=True):
            assert process.stdout is not None
            selector.register(process.stdout, selectors.EVENT_READ, _Lines(name))
        while selector.get_map():
            for key, _events in selector.select():
                data = os.read(key.fd, _CHUNK)
                key.data.feed(data)
                if not data:
                    selector.unregister(key.fileobj)


class _Lines:
    """Shows the lines of one command as they are whole; what is left at its end is a line as well."""

    def __init__(self, name: str) -> None:
        self._before = f"{name}| ".encode() if name else b""
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """`data` empty: the end."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if self._rest and not data:
            lines.append(self._rest)
        show(self._before + line + b"\n" for line in lines)


def _shell_code(code: int) -> int:
    """As a shell has it: a program that a signal ended has 128 and its number."""
    return 128 - code if code < 0 else code
