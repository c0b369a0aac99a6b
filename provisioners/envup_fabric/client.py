"""The way into one machine as one user, in the place of `paramiko.SSHClient` and `paramiko.Transport`."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Mapping
from typing import Any

from paramiko import SSHException

from envup.provider import HostCommand
from envup_fabric.channel import Channel
from envup_fabric.files import Files
from envup_fabric.program import supervised
from envup_fabric.wire import Asked, Link

_LOOK = """case "$SHELL" in */nologin | */false | "") SHELL=/bin/sh ;; esac
[ "$(command -v "${SHELL##*/}")" -ef "$SHELL" ] && SHELL=${SHELL##*/}
printf "%s\\n" "$SHELL" "$PWD"
"""
"""Names the shell without its directory where it can, as it then calls itself in messages when sshd(8) starts it."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Unreachable(SSHException):
    """The machine cannot be entered, or what was asked for cannot be reached in it."""


class Client:
    """Made connected. `shell` is the user's login shell, /bin/sh for those who have none; `directory` the one in which
    programs run, the user's home; `active` is False once it is closed."""

    def __init__(self, link: Link, machine: str, user: str, environment: Mapping[str, str]) -> None:
        """Errors: `Unreachable`, also where the machine has no such user."""
        self._link, self._machine, self._user, self._environment = link, machine, user, environment
        self.active = True
        done = self.run(("/bin/sh", "-c", _LOOK))
        lines = done.stdout.decode(errors="surrogateescape").splitlines()
        if done.returncode or len(lines) < 2:
            said = done.stderr.decode(errors="replace").strip() or f"/bin/sh ended with exit code {done.returncode}"
            raise Unreachable(f"machine '{machine}' cannot be entered as {user}: {said}")
        self.shell, self.directory = lines[-2:]

    def get_transport(self) -> Client:
        """Itself: here is no difference between the two."""
        return self

    def is_active(self) -> bool:
        """See `active`."""
        return self.active

    def close(self) -> None:
        """Start nothing more; what runs goes on."""
        self.active = False

    def open_session(self) -> Channel:
        """For one program."""
        self._require_open()
        return Channel(self)

    def open_sftp(self) -> Files:
        """The machine's files."""
        self._require_open()
        return Files(self)

    def open_channel(self, kind: str, dest_addr: tuple[str, int], _src_addr: Any = None) -> socket.socket:
        """A connection to a port of the machine, made in its own network. Errors: `Unreachable`."""
        self._require_open()
        host, port = dest_addr
        if kind != "direct-tcpip" or host not in (*LOOPBACK, self._machine):
            raise Unreachable(f"machine '{self._machine}': only its own ports are reached: say localhost, not {host}")
        try:
            return self._link.ask_for_connection("dial", machine=self._machine, port=port)
        except Asked as error:
            raise Unreachable(f"port {port} of machine '{self._machine}' cannot be reached: {error}") from error

    def host_command(
        self,
        argv: tuple[str, ...],
        environment: Mapping[str, str],
        *,
        user: str | None = None,
        workdir: str | None = None,
        terminal: bool = False,
    ) -> HostCommand:
        """What to execute on the host; `user` None is the client's, `workdir` None that user's home. Errors:
        `Unreachable`."""
        self._require_open()
        try:
            made = self._link.ask(
                "command",
                machine=self._machine,
                argv=argv,
                user=user or self._user,
                workdir=workdir,
                environment={**self._environment, **environment},
                terminal=terminal,
            )
        except Asked as error:
            raise Unreachable("; ".join(filter(None, (error.brief, error.hint)))) from error
        return HostCommand(tuple(made["argv"]), made["environment"])

    def run(
        self, argv: tuple[str, ...], environment: Mapping[str, str] = {}, stdin: bytes | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a short program to its end. Errors: `Unreachable`."""
        with self.start(argv, environment) as process:
            output, complaint = process.communicate(stdin)
        return subprocess.CompletedProcess(argv, process.returncode, output, complaint)

    def start(self, argv: tuple[str, ...], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start one, with pipes. Errors: `Unreachable`."""
        host = self.host_command(argv, environment)
        pipe = subprocess.PIPE
        try:
            return subprocess.Popen(host.argv, env=supervised(host.environment), stdin=pipe, stdout=pipe, stderr=pipe)
        except OSError as error:
            raise Unreachable(f"cannot run {host.argv[0]}: {error.strerror}") from error

    def _require_open(self) -> None:
        if not self.active:
            raise Unreachable(f"the connection to machine '{self._machine}' is closed")
