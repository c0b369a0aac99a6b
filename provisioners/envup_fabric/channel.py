"""A session as Fabric's own runner uses it: the part of `paramiko.Channel` that runs one program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from paramiko import SSHException

from envup_fabric.program import Program, Size

if TYPE_CHECKING:
    from envup_fabric.client import Client

_AS_SUDO = 'cd -- "$1" 2>/dev/null; exec "$2" -c "$3"'
"""sudo(8) stays in the directory of who calls it, also where the other user may not enter."""


class Channel:
    """One program of a machine, or its login shell. Threads may share it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._environment: dict[str, str] = {}
        self._size: Size | None = None
        self._user: str | None = None
        self._program: Program | None = None

    def get_pty(self, term: str = "vt100", width: int = 80, height: int = 24, *_pixels: int) -> None:
        """Give the program a terminal."""
        self._size, self._environment["TERM"] = (width, height), term

    def resize_pty(self, width: int = 80, height: int = 24, *_pixels: int) -> None:
        """Tell the program that its terminal has another size."""
        self._size = (width, height)
        if self._program is not None:
            self._program.resize(self._size)

    def update_environment(self, environment: Mapping[str, str]) -> None:
        """Variables of the program; every one is passed."""
        self._environment.update(environment)

    def set_environment_variable(self, name: str, value: str) -> None:
        """See `update_environment`."""
        self._environment[name] = value

    def become(self, user: str) -> None:
        """Have the program run as another user, in the directory that it runs in otherwise."""
        self._user = user

    def exec_command(self, command: str) -> None:
        """Start a line of the login shell's."""
        shell = self._client.shell
        if self._user is None:
            self._start((shell, "-c", command))
        else:
            argv = ("/bin/sh", "-c", _AS_SUDO, "sh", self._client.directory, shell, command)
            self._start(argv, user=self._user, workdir="/")

    def invoke_shell(self) -> None:
        """Start the login shell."""
        self._start(())

    def recv(self, size: int) -> bytes:
        """Output, waited for; nothing at its end."""
        return self._running.output.read(size)

    def recv_stderr(self, size: int) -> bytes:
        """What goes to standard error, likewise; a program with a terminal has none."""
        errors = self._running.errors
        return errors.read(size) if errors is not None else b""

    def sendall(self, data: bytes | str) -> None:
        """Give the program something to read; what it does not read is lost."""
        self._running.input.write(data.encode() if isinstance(data, str) else data)

    def send(self, data: bytes | str) -> int:
        """As `sendall`; the length of it all."""
        self.sendall(data)
        return len(data)

    def shutdown_write(self) -> None:
        """The input ends. A terminal has no such end."""
        if self._size is None:
            self._running.input.close()

    def exit_status_ready(self) -> bool:
        """Whether the program has ended."""
        return self._running.has_ended()

    def recv_exit_status(self) -> int:
        """Its exit code, waited for; -1 where there is none, after a signal."""
        return self._running.wait()

    def close(self) -> None:
        """End the program if it runs, with its children; let go of the streams of one that has ended."""
        if self._program is not None and not self._program.end():
            self._program.release()

    @property
    def _running(self) -> Program:
        if self._program is None:
            raise SSHException("this session runs no program yet")
        return self._program

    def _start(self, argv: tuple[str, ...], *, user: str | None = None, workdir: str | None = None) -> None:
        terminal = self._size is not None
        host = self._client.host_command(argv, self._environment, user=user, workdir=workdir, terminal=terminal)
        self._program = Program(host, self._size)
