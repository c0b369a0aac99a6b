"""The machine's files, in the place of `paramiko.SFTPClient`: what it does for a user with the machine's own tools.

Names, errors and results are those of https://docs.paramiko.org/en/stable/api/sftp.html.
"""

from __future__ import annotations

import errno
import posixpath
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from paramiko import SFTPAttributes

from envup_fabric.opened import File

if TYPE_CHECKING:
    from envup_fabric.client import Client

_PIECE = 1 << 17
_STAT = 'stat {} -c "%f %s %u %g %X %Y" -- "$1"'
_FREE = 'if [ -e "$2" ] || [ -L "$2" ]; then echo "$2 exists" >&2; exit 1; fi; '
_ENGLISH = {"LC_ALL": "C"}
_KNOWN = {
    "No such file or directory": (errno.ENOENT, "No such file"),
    "nonexistent": (errno.ENOENT, "No such file"),
    "Permission denied": (errno.EACCES, "Permission denied"),
}
"""What tools complain of, and what Paramiko makes of the same answer of a server."""

Progress = Callable[[int, int], object]


class Files:
    """Paths that are relative start in `getcwd`, or in the user's home."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._directory: str | None = None

    def close(self) -> None:
        """There is nothing to close."""

    def getcwd(self) -> str | None:
        """What `chdir` was told, None before."""
        return self._directory

    def chdir(self, path: str | None = None) -> None:
        """Where relative paths start; None is the user's home. Errors: `OSError`."""
        self._directory = (
            None if path is None else self._shell('ls -d -- "$1/." >/dev/null && cd -- "$1" && pwd -P', path)
        )

    def normalize(self, path: str) -> str:
        """The absolute path without links. Errors: `OSError`."""
        if path == "." and self._directory is None:
            return self._client.directory
        return self._shell('readlink -f -- "$1"', path)

    def stat(self, path: str) -> SFTPAttributes:
        """Of what a link leads to. Errors: `OSError`."""
        return _attributes(self._shell(_STAT.format("-L"), path))

    def lstat(self, path: str) -> SFTPAttributes:
        """Of a link itself. Errors: `OSError`."""
        return _attributes(self._shell(_STAT.format(""), path))

    def listdir(self, path: str = ".") -> list[str]:
        """Names in a directory. Errors: `OSError`."""
        found = self._shell('find "$1/." -mindepth 1 -maxdepth 1 -print0', path)
        return [posixpath.basename(name) for name in found.split("\0")[:-1]]

    def mkdir(self, path: str, mode: int = 0o777) -> None:
        """Make a directory. Errors: `OSError`."""
        self._shell('mkdir -m "$(printf %o "$((0$2 & ~0$(umask)))")" -- "$1"', path, f"{mode:o}")

    def rmdir(self, path: str) -> None:
        """Remove an empty directory. Errors: `OSError`."""
        self._shell('rmdir -- "$1"', path)

    def remove(self, path: str) -> None:
        """Remove a file. Errors: `OSError`."""
        self._shell('[ ! -d "$1" ] || [ -L "$1" ] || { echo "$1 is a directory" >&2; exit 1; }; rm -- "$1"', path)

    unlink = remove

    def rename(self, oldpath: str, newpath: str) -> None:
        """Move to a name that is free. Errors: `OSError`."""
        self._shell(f'{_FREE}mv -- "$1" "$2"', oldpath, self._absolute(newpath))

    def posix_rename(self, oldpath: str, newpath: str) -> None:
        """Move, in the place of what has the name. Errors: `OSError`."""
        self._shell('mv -f -T -- "$1" "$2"', oldpath, self._absolute(newpath))

    def chmod(self, path: str, mode: int) -> None:
        """Set the mode. Errors: `OSError`."""
        self._shell('chmod -- "$2" "$1"', path, f"{mode & 0o7777:04o}")

    def chown(self, path: str, uid: int, gid: int) -> None:
        """Set owner and group by number. Errors: `OSError`."""
        self._shell('chown -- "$2" "$1"', path, f"{uid}:{gid}")

    def symlink(self, source: str, dest: str) -> None:
        """Make a link at `dest` that leads to `source`. Errors: `OSError`."""
        self._shell(f'set -- "$2" "$1"; {_FREE}ln -s -- "$1" "$2"', dest, source)

    def readlink(self, path: str) -> str:
        """Where a link leads. Errors: `OSError`."""
        return self._shell('readlink -- "$1"', path)

    def put(
        self, localpath: str | Path, remotepath: str, callback: Progress | None = None, confirm: bool = True
    ) -> SFTPAttributes:
        """Copy a file of the host. Errors: `OSError`."""
        size = Path(localpath).stat().st_size
        with Path(localpath).open("rb") as file:
            return self.putfo(file, remotepath, size, callback, confirm)

    def putfo(
        self, fl: IO[Any], remotepath: str, file_size: int = 0, callback: Progress | None = None, confirm: bool = True
    ) -> SFTPAttributes:
        """Copy what a file-like object reads; a file that exists keeps its mode and owner. Errors: `OSError`."""
        found, sent = self._send('cat >"$1"', fl, remotepath, file_size, callback)
        if confirm and found.st_size != sent:
            raise OSError(f"size mismatch in put!  {found.st_size} != {sent}")
        return found

    def _send(
        self, line: str, fl: IO[Any], remotepath: str, file_size: int = 0, callback: Progress | None = None
    ) -> tuple[SFTPAttributes, int]:
        """Give a line of shell what a file-like object reads; what the file is then, and how much that was."""
        sent = 0
        with self._start(f"{line} && {_STAT.format('-L')}", remotepath) as process:
            assert process.stdin is not None
            with suppress(BrokenPipeError), process.stdin as sink:  # why it reads no more, it says itself
                while data := fl.read(_PIECE):
                    data = data.encode() if isinstance(data, str) else data
                    sink.write(data)
                    sent += len(data)
                    if callback is not None:
                        callback(sent, file_size)
            return _attributes(_finished(process)), sent

    def get(self, remotepath: str, localpath: str | Path, callback: Progress | None = None, **_tuning: Any) -> None:
        """Copy a file to the host. Errors: `OSError`."""
        size = self.stat(remotepath).st_size
        with Path(localpath).open("wb") as file:
            got = self.getfo(remotepath, file, callback)
        if got != size:
            raise OSError(f"size mismatch in get!  {got} != {size}")

    def getfo(self, remotepath: str, fl: IO[bytes], callback: Progress | None = None, **_tuning: Any) -> int:
        """Copy a file into a file-like object; the number of bytes. Errors: `OSError`."""
        size = self.stat(remotepath).st_size if callback is not None else 0
        got = 0
        with self._start('cat -- "$1"', remotepath) as process:
            assert process.stdin and process.stdout
            process.stdin.close()
            while data := process.stdout.read(_PIECE):
                fl.write(data)
                got += len(data)
                if callback is not None:
                    callback(got, size)
            _finished(process)
        return got

    def open(self, filename: str, mode: str = "r", bufsize: int = -1) -> File:
        """A file to read or to write, as a copy that goes back when it is closed, if something was written; what is
        appended is sent alone. Errors: `OSError`."""
        if {*mode} & {*"wax"}:
            self._shell(f'{"set -C; " * ("x" in mode)}: {">>" if "a" in mode else ">"}"$1"', filename)
        content = tempfile.TemporaryFile()  # noqa: SIM115 - the file that is returned closes it
        added = "a" in mode and "+" not in mode
        if "w" not in mode and "x" not in mode and not added:
            self.getfo(filename, content)
            content.flush()
        line = 'cat >>"$1"' if added else 'cat >"$1"'
        return File(content, mode, bufsize, lambda file: self._send(line, file, filename))

    file = open

    def _absolute(self, path: str) -> str:
        return posixpath.join(self._directory or self._client.directory, path)

    def _shell(self, line: str, path: str, *more: str) -> str:
        argv = ("/bin/sh", "-c", line, "sh", self._absolute(path), *more)
        done = self._client.run(argv, _ENGLISH)
        if done.returncode:
            raise _error(done.returncode, done.stderr)
        return done.stdout.decode(errors="surrogateescape").removesuffix("\n")

    def _start(self, line: str, path: str) -> subprocess.Popen[bytes]:
        return self._client.start(("/bin/sh", "-c", line, "sh", self._absolute(path)), _ENGLISH)


def _finished(process: subprocess.Popen[bytes]) -> str:
    """What else it says, when it succeeds. Errors: `OSError`."""
    assert process.stdout and process.stderr
    said, complaint = process.stdout.read(), process.stderr.read()
    if code := process.wait():
        raise _error(code, complaint)
    return said.decode()


def _error(code: int, complaint: bytes) -> OSError:
    text = complaint.decode(errors="replace").strip()
    known = next((answer for words, answer in _KNOWN.items() if words in text), None)
    return OSError(*known) if known else OSError(text or f"exit code {code}")


def _attributes(line: str) -> SFTPAttributes:
    mode, *numbers = line.split()
    made = SFTPAttributes()
    made.st_mode = int(mode, 16)
    made.st_size, made.st_uid, made.st_gid, made.st_atime, made.st_mtime = map(int, numbers)
    return made
