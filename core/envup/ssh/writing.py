"""A file of the machine that is written from its beginning to its end: what comes goes there at once."""

from __future__ import annotations

import asyncio

import asyncssh

from envup.ssh.scripts import Scripts

_SCRIPT = """{check}[ -e "$1" ] || new=1
[ -z "$new" ] || [ -z "$2" ] || umask "$(printf %04o "$((0777 & ~0$2 | 0$(umask)))")"
exec 3{to}"$1" || exit
[ -z "$new" ] || [ -z "$2" ] || chmod "$(printf %o "$((0$2 & ~0$(umask)))")" "$1" || exit
"""
MAKE_DIRECTORY = """[ -z "$2" ] || set -- "$1" -m "$(printf %o "$((0$2 & ~0$(umask)))")"
path=$1; shift; exec mkdir "$@" -- "$path"
"""
"""Makes the directory `$1`, with the mode `$2` less the umask, as of mkdir(2)."""
_TAKE = """stat -L -c %s -- "$1" && exec cat >&3
"""
"""Says the size once the file is open."""


def opening(flags: int) -> str:
    """A script that opens a file, `$1`, for writing, as SFTP's `flags` say, and ends itself where it must not be opened
    so. `$2` is the mode of one that is new, less the umask, as of open(2), or empty."""
    check = "" if flags & asyncssh.FXF_CREAT else ': < "$1" || exit; '
    if flags & asyncssh.FXF_EXCL:
        check += "set -C; "
    to = ">" if flags & (asyncssh.FXF_TRUNC | asyncssh.FXF_EXCL) else ">>" if flags & asyncssh.FXF_APPEND else "<>"
    return _SCRIPT.replace("{check}", check).replace("{to}", to)


_AHEAD = 1 << 20
"""Bytes that wait for the machine before the client must."""


class Writing:
    """A file that is open so; `position` is where the next byte goes, `size` that of the file when it was opened. `end`
    must be called."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process, self.position, self.size = process, 0, 0
        self._refused: Refused | None = None

    @classmethod
    async def start(cls, scripts: Scripts, flags: int, *arguments: str) -> Writing:
        """Open it, see `opening`. Errors: `Refused`; `OSError`, `EnvupError` when the machine cannot be entered."""
        process = await scripts.start(opening(flags) + _TAKE, *arguments)
        made = cls(process)
        assert process.stdin is not None and process.stdout is not None
        process.stdin.transport.set_write_buffer_limits(_AHEAD)
        if size := await process.stdout.readline():
            made.size = int(size)
        else:
            await made.end()
        return made

    async def write(self, data: bytes) -> None:
        """Returns when it is taken. Errors: `Refused`, the file cannot be written."""
        if self._refused is not None:
            raise self._refused
        sink = self._process.stdin
        assert sink is not None
        sink.write(data)
        self.position += len(data)
        try:
            await sink.drain()
        except ConnectionError as error:
            await self.end()
            raise Refused(0, b"it was not written to the end") from error

    async def end(self) -> None:
        """Returns when all is written. Errors: `Refused`."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        _output, complaint = await self._process.communicate()
        if code := await self._process.wait():
            self._refused = self._refused or Refused(code, complaint)
            raise self._refused


class Refused(Exception):
    """A script failed: its exit code, and what it complained of."""

    def __init__(self, code: int, complaint: bytes) -> None:
        super().__init__(complaint.decode(errors="replace").strip() or f"exit code {code}")
        self.complaint = complaint
