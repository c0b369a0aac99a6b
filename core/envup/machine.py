"""A running machine as provisioners and probes see it: run a program, send and fetch files.

It knows the provider only through `command`, `send` and `fetch`. Output reaches the log and the report as it comes,
without the secrets of the Envfile. How files are named on the way is in `copying`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from envup import children
from envup.errors import EnvupError, InterruptedByUser, TransportError
from envup.events import Emit, Event
from envup.model import MachineSpec
from envup.output import Decoder, Redactor, Tail
from envup.provider import Command, Instance, Provider
from envup.running import Followed, follow
from envup.selection import Selection
from envup.value import NOTHING, Value

if TYPE_CHECKING:
    import subprocess

__all__ = ["CommandFailed", "Machine", "Result"]

TRANSPORT_FAILED = 125
TIMED_OUT = 124
"""As timeout(1) has it."""


class Result(Value):
    """How a program ended. `exit_code` is the program's own, 128 + n after signal n, 124 when time was up; `tail` the
    last 20 lines of its output."""

    exit_code: int
    tail: tuple[str, ...] = ()


class CommandFailed(EnvupError):
    """A program in a machine ended with another exit code than 0; `result` has it."""

    def __init__(self, brief: str, result: Result, *, hint: str = "") -> None:
        super().__init__(brief, details="\n".join(result.tail), hint=hint)
        self.result = result


class Machine:
    """One running machine, for one step or probe. `action` goes into its events; `log` gets all output; the values in
    `redact` reach neither. One thread uses it; `terminate` may come from another."""

    def __init__(
        self,
        provider: Provider,
        instance: Instance,
        spec: MachineSpec,
        *,
        emit: Emit,
        action: str = "",
        log: BinaryIO | None = None,
        redact: frozenset[str] = frozenset(),
    ) -> None:
        self.provider, self.instance, self.spec = provider, instance, spec
        self._emit, self._action, self._log, self._redact = emit, action, log, redact
        self._lock = threading.Lock()
        self._running: subprocess.Popen[bytes] | None = None
        self._terminated = False

    @property
    def name(self) -> str:
        """The machine's name."""
        return self.spec.name

    def run(
        self,
        argv: Sequence[str],
        *,
        user: str | None = None,
        workdir: str | None = None,
        environment: Mapping[str, str] = NOTHING,
        stdin: bytes | BinaryIO | None = None,
        check: bool = True,
        timeout: float | None = None,
        quiet: bool = False,
    ) -> Result:
        """Run a program and wait for its end. `user` None is the machine's default user, `workdir` None that user's
        home, `environment` is added to the machine's, `stdin` None is empty (a file needs a descriptor), `timeout` is
        seconds. `quiet` keeps the output from log and report.

        Errors: `CommandFailed` if `check` and the exit code is not 0; `TransportError` for 125; `InterruptedByUser`.
        """
        command = Command(tuple(argv), user or self.spec.user, workdir, dict(environment))
        host = self.provider.command(self.instance, command)
        followed, tail = self._follow(
            host.argv, environment=host.environment, stdin=stdin, timeout=timeout, quiet=quiet
        )
        return self._judge(argv, followed, tail, check=check, timeout=timeout, quiet=quiet)

    def local(
        self,
        argv: Sequence[str],
        *,
        directory: Path | None = None,
        environment: Mapping[str, str] = NOTHING,
        descriptors: Sequence[int] = (),
    ) -> Result:
        """Run a program of the host for the sake of this machine and wait for its end. Its output is told as that of
        one in the machine. `directory` None is the current one, `environment` is added to this process's, standard
        input is empty, and it gets the open `descriptors` under their numbers. It ends when envup is killed. No exit
        code is an error.

        Errors: `TransportError` when it cannot be started; `InterruptedByUser`.
        """
        import shutil

        from envup.images.tools import mortal

        if shutil.which(argv[0]) is None:
            raise TransportError(f"cannot run {argv[0]}: there is no such program")
        how = {"environment": environment, "stdin": None, "timeout": None, "directory": directory}
        followed, tail = self._follow(mortal(argv), quiet=False, **how, descriptors=descriptors)
        self._check_end(argv, followed, quiet=False)
        return Result(followed.exit_code, tail)

    def _follow(self, argv: Sequence[str], *, quiet: bool, **how: Any) -> tuple[Followed, tuple[str, ...]]:
        """How it ended, and its last lines; what it prints is told meanwhile."""
        output = _Output(self, self._redact, quiet=quiet)
        if self._terminated:
            raise InterruptedByUser(f"machine '{self.name}': {argv[0]} was interrupted")
        try:
            followed = follow(argv, output=output.feed, started=self._started, **how)
        finally:
            self._running = None
            output.finish()
        return followed, output.tail.lines()

    def read(self, argv: Sequence[str], *, stdin: bytes = b"") -> bytes:
        """All that a program of root's writes, on both streams; for a few megabytes at most. Errors: as `run`."""
        host = self.provider.command(self.instance, Command(tuple(argv), "0", "/"))
        said = bytearray()
        try:
            followed = follow(
                host.argv,
                environment=host.environment,
                stdin=stdin,
                output=said.extend,
                started=self._started,
                timeout=None,
            )
        finally:
            self._running = None
        tail = tuple(bytes(said[-2000:]).decode(errors="replace").splitlines())
        self._judge(argv, followed, tail, check=True, timeout=None, quiet=True)
        return bytes(said)

    def send(
        self,
        source: Path | str,
        target: str,
        *,
        owner: str | None = None,
        group: str | None = None,
        mode: int | None = None,
        selection: Selection | None = None,
        spare: bool = False,
    ) -> None:
        """Copy a file or directory of the host into the machine by cp's rules: into `target` if that is a directory
        there or ends in `/`, else as `target`. Missing parents are made. Of a directory only the `selection` is copied,
        None being all; `spare` leaves out what is there already. See `copying.Attributes` for the rest.

        Errors: `EnvupError`.
        """
        from envup import copying

        attributes = copying.Attributes(owner, group, mode)
        copying.send(self, source, target, attributes, selection or Selection(), spare=spare)

    def write(self, path: str, content: bytes, *, owner: str = "0", mode: int = 0o644) -> None:
        """Put a file into a directory of the machine that exists, in the place of what has its name."""
        from envup import copying

        copying.write(self, path, content, copying.Attributes(owner, None, mode))

    def fetch(self, path: str, target: Path | str) -> None:
        """Copy a file or directory of the machine to the host by the same rules. Nothing is written outside `target`,
        whatever the machine sends. Errors: `EnvupError`."""
        from envup import copying

        copying.fetch(self, path, os.fspath(target))

    def pack(self, path: str, archive: BinaryIO) -> None:
        """Write `path` as a tar stream to `archive`, which has a descriptor. Errors: those of the provider."""
        self.provider.fetch(self.instance, path, archive)

    def announce(self, step: str, description: str) -> None:
        """Tell the report and the log that a step begins."""
        shown = self.masked(description)
        self.emit("progress", shown)
        self.write_log(f"\n--- {step}: {shown}\n".encode())

    def masked(self, text: str) -> str:
        """The text without the secrets of the Envfile, as output is told."""
        redactor = Redactor(self._redact)
        return (redactor.feed(text.encode(errors="replace")) + redactor.finish()).decode(errors="replace")

    def write_log(self, data: bytes) -> None:
        """Add to the log, where there is one. Errors: `EnvupError`."""
        try:
            if self._log:
                self._log.write(data)
        except OSError as error:
            raise EnvupError(f"cannot write the log of machine '{self.name}': {error.strerror}") from error

    def emit(self, kind: str, text: str) -> None:
        """Emit an event of this machine and action."""
        self._emit(Event(kind, machine=self.name, action=self._action, text=text))

    def terminate(self) -> None:
        """End what runs, with its children, and let nothing start from now on. A second call does nothing."""
        with self._lock:
            self._terminated, process = True, self._running
        if process is not None:
            children.end(process)

    def _started(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._running = process
            late = self._terminated
        if late:
            children.end(process)

    def _judge(
        self,
        argv: Sequence[str],
        followed: Followed,
        tail: tuple[str, ...],
        *,
        check: bool,
        timeout: float | None,
        quiet: bool,
    ) -> Result:
        code = TIMED_OUT if followed.timed_out else followed.exit_code
        result = Result(code, tail)
        self._check_end(argv, followed, quiet=quiet)
        if code == TRANSPORT_FAILED:
            details = "\n".join(tail)
            raise TransportError(f"cannot run a program in machine '{self.name}'", details=details)
        if code and check:
            how = f"did not end within {timeout:g} s" if followed.timed_out else f"failed with exit code {code}"
            raise CommandFailed(f"machine '{self.name}': {argv[0]} {how}", result)
        return result

    def _check_end(self, argv: Sequence[str], followed: Followed, *, quiet: bool) -> None:
        """Errors: `InterruptedByUser` where it did not end by itself."""
        if self._terminated or children.cancelled():
            raise InterruptedByUser(f"machine '{self.name}': {argv[0]} was interrupted")
        if followed.held and not quiet:
            text = f"a program that {argv[0]} started still holds its output, which is not read any more; redirect it"
            self.emit("warning", text)


class _Output:
    """Where the pieces of one program's output go."""

    def __init__(self, machine: Machine, secrets: frozenset[str], *, quiet: bool) -> None:
        self._machine, self._quiet = machine, quiet
        self._redactor, self._decoder, self.tail = Redactor(secrets), Decoder(), Tail()

    def feed(self, data: bytes) -> None:
        self._pass(self._redactor.feed(data))

    def finish(self) -> None:
        self._pass(self._redactor.finish(), final=True)

    def _pass(self, data: bytes, *, final: bool = False) -> None:
        if data and not self._quiet:
            self._machine.write_log(data)
        text = self._decoder.feed(data, final=final)
        if text:
            self.tail.feed(text)
            if not self._quiet:
                self._machine.emit("output", text)
