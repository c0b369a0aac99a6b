"""A session of the client: a program of the machine, or a shell, with streams or a terminal; or its file server."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from typing import Any

import asyncssh
from asyncssh.stream import SSHServerStreamSession

from envup.errors import EnvupError
from envup.machine import TRANSPORT_FAILED
from envup.project import Located
from envup.provider import Command, HostCommand
from envup.shim import original_environment
from envup.ssh.carrying import Carrier
from envup.ssh.files import Files
from envup.ssh.scripts import Scripts

_GRACE = 8.0
"""Seconds that a program has to end when its client is gone."""
_HELD = 1 << 16
"""Bytes that are read ahead of the client."""
_PASSED = ("LANG", "LC_")
"""Variables that a client may set, as Debian's sshd_config lets it."""
_FILE_SERVER = """for path in /usr/lib/openssh /usr/libexec/openssh /usr/libexec /usr/lib/ssh /usr/lib; do
  if [ -x "$path/sftp-server" ]; then echo "$path/sftp-server"; exit; fi
done
"""
"""Where distributions have OpenSSH's sftp-server(8)."""


Size = tuple[int, int, int, int]
"""Columns, rows, and both in pixels."""


class Session(Carrier, asyncssh.SSHServerSession[bytes]):
    """One session; asyncssh calls what it overrides."""

    def __init__(self, located: Located, user: str) -> None:
        super().__init__()
        self._located, self._user = located, user
        self._scripts = Scripts(located, user)
        self._argv: Sequence[str] = ()
        self._serves_files = False
        self._files: SSHServerStreamSession[bytes] | None = None
        self._size: Size | None = None
        self._term = ""
        self._terminal = -1
        self._process: asyncio.subprocess.Process | None = None
        self._transport: asyncio.SubprocessTransport | None = None

    def pty_requested(self, term_type: str, term_size: Size, _modes: Mapping[int, int]) -> bool:
        self._term, self._size = term_type, term_size
        return True

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        self._size = (width, height, pixwidth, pixheight)
        if self._terminal >= 0:
            _resize(self._terminal, self._size)

    def shell_requested(self) -> bool:
        return True

    def exec_requested(self, command: str) -> bool:
        self._argv = ("/bin/sh", "-c", command)
        return True

    def subsystem_requested(self, subsystem: str) -> bool:
        self._serves_files = subsystem == "sftp"
        return self._serves_files

    def data_received(self, data: bytes, datatype: int | None = None) -> None:
        if self._files is None:
            super().data_received(data, datatype)
        else:
            self._files.data_received(data, datatype)

    def eof_received(self) -> bool:
        if self._files is None:
            return super().eof_received()
        self.channel.exit(0)  # a client has every answer before it ends its requests
        return True

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._files is not None:
            self._files.pause_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._files is not None:
            self._files.resume_writing()

    def signal_received(self, signal: str) -> None:
        self._signal(_number(signal))

    def session_started(self) -> None:
        self._running = asyncio.create_task(self._run())

    def end_input(self, sink: asyncio.StreamWriter) -> None:
        if self._size is None:
            super().end_input(sink)

    def connection_lost(self, _error: Exception | None) -> None:
        if self._files is not None:
            self._files.connection_lost(_error)
        self._ending = asyncio.create_task(self._end())

    async def _end(self) -> None:
        """End the program, whose client is gone. What it left behind may hold its streams for ever."""
        if self._process is not None and self._process.returncode is None:
            self._signal(signal.SIGHUP)
            try:
                await asyncio.wait_for(self._process.wait(), _GRACE)
            except TimeoutError:
                self._process.kill()
        self._running.cancel()
        if self._transport is not None:
            self._transport.close()

    async def _start(self, host: HostCommand, **options: Any) -> asyncio.subprocess.Process:
        """As `asyncio.create_subprocess_exec`, which does not let go of streams that others hold."""
        loop = asyncio.get_running_loop()
        self._transport, protocol = await loop.subprocess_exec(
            lambda: asyncio.subprocess.SubprocessStreamProtocol(limit=_HELD, loop=loop),
            *host.argv,
            env=original_environment() | dict(host.environment),
            start_new_session=True,
            **options,
        )
        self._process = asyncio.subprocess.Process(self._transport, protocol, loop)
        return self._process

    async def _run(self) -> None:
        try:
            if self._serves_files and not await self._find_file_server():
                self._serve_files()
                return
            host = self._located.provider.command(self._located.instance, self._command())
            code = await (self._with_streams(host) if self._size is None else self._with_terminal(host, self._size))
        except (OSError, EnvupError) as error:
            told = f"envup: machine '{self._located.name}' cannot be entered: {error}\n"
            self.channel.write(told.encode(), asyncssh.EXTENDED_DATA_STDERR)
            code = TRANSPORT_FAILED
        if code < 0:
            self.channel.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))
        else:
            self.channel.exit(code)

    async def _find_file_server(self) -> bool:
        """Whether the machine has one of its own, which is then what runs. Errors: `OSError`, `EnvupError`."""
        code, found, complaint = await self._scripts.run(_FILE_SERVER)
        if code:
            raise EnvupError(os.fsdecode(complaint).strip() or f"/bin/sh ends with exit code {code}")
        self._argv = (os.fsdecode(found).strip(),)
        return bool(found)

    def _command(self) -> Command:
        given = self.channel.get_environment()
        variables = {name: value for name, value in given.items() if name.startswith(_PASSED)}
        if self._size is not None:
            variables["TERM"] = self._term
        return Command(tuple(self._argv), user=self._user, environment=variables, terminal=self._size is not None)

    def _serve_files(self) -> None:
        """Let AsyncSSH speak SFTP, with files as the machine's shell has them."""
        self._files = SSHServerStreamSession(None, lambda channel: Files(channel, self._scripts), 3)
        self._files.connection_made(self.channel)
        self._files.session_started()
        for data in self.early():
            if data is None:
                self.eof_received()
            else:
                self._files.data_received(data, None)

    async def _with_streams(self, host: HostCommand) -> int:
        pipe = subprocess.PIPE
        process = await self._start(host, stdin=pipe, stdout=pipe, stderr=pipe)
        assert process.stdin and process.stdout and process.stderr
        self.feed(process.stdin)
        await asyncio.gather(
            self.carry(process.stdout), self.carry(process.stderr, asyncssh.EXTENDED_DATA_STDERR), process.wait()
        )
        return await process.wait()

    async def _with_terminal(self, host: HostCommand, size: Size) -> int:
        self._terminal, theirs = os.openpty()
        _resize(self._terminal, size)
        try:
            own = {"preexec_fn": lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)}
            process = await self._start(host, stdin=theirs, stdout=theirs, stderr=theirs, **own)
        finally:
            os.close(theirs)
        source, sink = await _streams(self._terminal)
        self.feed(sink)
        await asyncio.gather(self.carry(source), process.wait())
        self._terminal = -1
        sink.close()
        return await process.wait()

    def _signal(self, number: int) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


def _number(name: str) -> int:
    return signal.Signals[f"SIG{name}"] if f"SIG{name}" in signal.Signals.__members__ else signal.SIGTERM


def _resize(terminal: int, size: Size) -> None:
    width, height, across, down = size
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, across, down))


async def _streams(terminal: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Both directions of a terminal's master, which is theirs to close."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(terminal, "rb", 0))
    made = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, os.fdopen(os.dup(terminal), "wb", 0))
    return reader, asyncio.StreamWriter(made[0], made[1], None, loop)
