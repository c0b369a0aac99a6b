"""Runs a program in a running container and stands in for it: `enter KEY=VALUE… -- PROGRAM ARGUMENT…`.

Called by the line that `commands.enter` gives. Signals that reach this process go on to the program's process group.
The exit code is the program's; where a signal that was sent on ended the program, it ends this process too. 125: the
container could not be entered; 126, 127: the program cannot be executed, is not found.
"""

from __future__ import annotations

import os

from envup.namespaces.signals import signal
from envup.namespaces.variables import unpacked
from envup_docker import endpoint, errands, guest
from envup_docker.engine import Engine, EngineError
from envup_docker.execs import Exec
from envup_docker.relay import Relay, Signals
from envup_docker.streams import Frames, Whole
from envup_docker.watcher import Watcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from envup_docker.screen import Screen


class _NotStarted(Exception):
    """The engine could not start the shell; the text says why."""


def main(arguments: list[str]) -> int:
    """See the module."""
    split = arguments.index("--")
    values = dict(argument.partition("=")[::2] for argument in arguments[:split])
    signal.signal(signal.SIGINT, _default(signal.SIGINT))
    try:
        return _run(values, arguments[split + 1 :])
    except _NotStarted as error:
        return _complain(126 if "no matching entries" in str(error) else 125, str(error))
    except EngineError as error:
        return _complain(125, _reason(error))
    except BrokenPipeError:
        _end_by(signal.SIGPIPE)


def _run(values: dict[str, str], argv: list[str]) -> int:
    parent = _parent()
    screen = _screen() if values["terminal"] == "1" and os.isatty(0) else None
    texts, others = _variables(screen)
    program = _start(values, argv, texts, screen)
    opening = _Opening(program, Frames() if screen is None else Whole())
    target = errands.Target(program.engine, values["container"], opening.group(), values["user"])
    watcher = Watcher(target)
    signals = Signals()
    relay = Relay(program, opening.frames, target, signals, screen, parent)
    if screen is not None:
        program.resize(*screen.size())
        screen.take()
    try:
        program.stream.sendall(guest.told(argv, others))
        while opening.line() != b"=":
            pass
        for descriptor, piece in opening.rest():
            relay.write(descriptor, memoryview(piece))
        code = program.exit_code() if relay.run() else 128 + signal.SIGTERM
    finally:
        if screen is not None:
            screen.release()
    watcher.dismiss()
    if code - 128 in relay.sent:
        _end_by(code - 128)
    return code


def _start(values: dict[str, str], argv: list[str], texts: list[str], screen: Screen | None) -> Exec:
    user = values["user"]
    line = ("/bin/sh", "-c", guest.ENTER, "envup", user.partition(":")[0], values["workdir"])
    return Exec(
        Engine(endpoint.parsed(values)),
        values["container"],
        (*line, *(argument if guest.is_text(argument) else "" for argument in argv)),
        user="0" if user == "root" else user,
        environment=texts,
        terminal=screen is not None,
    )


class _Opening:
    """What is said before the program starts, line by line."""

    __slots__ = ("_errors", "_program", "_said", "frames")

    def __init__(self, program: Exec, frames: Frames | Whole) -> None:
        self._program, self.frames = program, frames
        self._said = b""
        self._errors: list[tuple[int, bytes]] = []

    def line(self) -> bytes:
        """The next line."""
        while b"\n" not in self._said:
            if not self._receive():
                self.fail()
        line, _newline, self._said = self._said.partition(b"\n")
        return line.rstrip(b"\r")

    def group(self) -> str:
        """The number of the program's process group, which is said first."""
        line = self.line()
        if not line.isdigit():
            self._said = line + b"\n" + self._said
            self.fail()
        return line.decode()

    def rest(self) -> list[tuple[int, bytes]]:
        """What came after the last line: descriptors and bytes."""
        return [(1, self._said), *self._errors]

    def fail(self) -> NoReturn:
        """Raise what the engine says in place of the shell."""
        while self._receive():
            pass
        said = b"".join([self._said, *(text for _, text in self._errors)]).decode(errors="replace").strip()
        raise _NotStarted(said or "the shell /bin/sh of the machine ended before the program started")

    def _receive(self) -> bool:
        data = self._program.stream.recv(65536)
        for descriptor, piece in self.frames.feed(data):
            if descriptor == 1:
                self._said += piece
            else:
                self._errors.append((descriptor, bytes(piece)))
        return bool(data)


def _screen() -> Screen:
    from envup_docker.screen import Screen

    return Screen()


def _variables(screen: Screen | None) -> tuple[list[str], dict[bytes, bytes]]:
    """`NAME=VALUE` for those that are UTF-8, and the others."""
    texts, others = [], {}
    if screen is not None and "TERM" in os.environ:
        texts.append(f"TERM={os.environ['TERM']}")
    for name, value in unpacked(os.environb).items():
        try:
            texts.append(f"{name.decode()}={value.decode()}")
        except UnicodeDecodeError:
            others[name] = value
    return texts, others


def _parent() -> int | None:
    """A descriptor of the process that this one must end with."""
    return os.pidfd_open(os.getppid()) if "ENVUP_SUPERVISED" in os.environ else None


def _default(number: int) -> int:
    return signal.SIG_IGN if signal.getsignal(number) == signal.SIG_IGN else signal.SIG_DFL


def _end_by(number: int) -> NoReturn:
    """Die of a signal, without a core file."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)


def _reason(error: EngineError) -> str:
    if error.status == 404:
        return "the machine is gone"
    if error.status == 409:
        return f"the machine is {'suspended' if 'paused' in error.message else 'not running'}"
    return f"{error.message}\n  {error.hint}" if error.hint else error.message


def _complain(code: int, message: str) -> int:
    try:
        os.write(2, f"envup: {message}\n".encode("utf-8", "surrogateescape"))
    except OSError:
        return code
    return code
