"""SFTP for a machine that has no server for it: what the client asks for is done by a shell and coreutils or BusyBox.

A file that is open is a copy on the host, which is sent when the client closes it.
"""

from __future__ import annotations

import errno
import os
import posixpath
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import IO, Any

import asyncssh

Run = Callable[..., Awaitable[tuple[int, bytes, bytes]]]
"""See `scripts.Scripts`."""

_STAT = "%f %s %u %g %X %Y"
"""Of stat(1): mode in hexadecimal, size, owner, group, seconds since the epoch of access and of change."""
_LIST = """cd -- "$1" || exit
for name in .* *; do
  case $name in .|..) continue;; esac
  if [ -e "$name" ] || [ -L "$name" ]; then printf '%s\\0' "./$name"; fi
done"""
_CANONICAL = 'cd -- "$1" 2>/dev/null && pwd -P || printf "%s\\n" "$1"'
_ERRORS = {
    b"No such file": errno.ENOENT,
    b"Permission denied": errno.EACCES,
    b"File exists": errno.EEXIST,
    b"not empty": errno.ENOTEMPTY,
    b"Not a directory": errno.ENOTDIR,
    b"Is a directory": errno.EISDIR,
    b"No space left": errno.ENOSPC,
    b"Read-only file system": errno.EROFS,
}


class _Open:
    """A file that the client has open; `changed` once it wrote to it."""

    def __init__(self, path: bytes, file: IO[bytes], *, append: bool) -> None:
        self.path, self.file, self.append, self.changed = path, file, append, False
        self.attributes: list[asyncssh.SFTPAttrs] = []


class Files(asyncssh.SFTPServer):
    """The files of a machine as one user sees them. Relative paths begin at the home of that user."""

    def __init__(self, chan: Any, run: Run) -> None:
        super().__init__(chan)
        self._run = run

    async def _do(self, script: str, *arguments: bytes | str, **streams: Any) -> bytes:
        """What it wrote. Errors: `OSError` or `asyncssh.SFTPFailure` with what it complained of."""
        code, output, complaint = await self._run(script, *map(os.fsdecode, arguments), **streams)
        if code:
            number = next((number for text, number in _ERRORS.items() if text in complaint), None)
            if number is not None:
                raise OSError(number, os.strerror(number))
            raise asyncssh.SFTPFailure(complaint.decode(errors="replace").strip() or f"exit code {code}")
        return output

    async def realpath(self, path: bytes) -> bytes:
        known = 'cd -- "$1" 2>/dev/null && pwd -P || printf "%s\\n" "$PWD/$1"'
        found = await self._do(known, path) if not path.startswith(b"/") else await self._do(_CANONICAL, path)
        return posixpath.normpath(found.removesuffix(b"\n"))

    async def stat(self, path: bytes) -> asyncssh.SFTPAttrs:
        return _attributes(await self._do(f"exec stat -L -c '{_STAT}' -- \"$1\"", path))

    async def lstat(self, path: bytes) -> asyncssh.SFTPAttrs:
        return _attributes(await self._do(f"exec stat -c '{_STAT}' -- \"$1\"", path))

    async def fstat(self, file_obj: object) -> asyncssh.SFTPAttrs:
        assert isinstance(file_obj, _Open)
        known = await self.stat(file_obj.path)
        known.size = os.fstat(file_obj.file.fileno()).st_size
        return known

    async def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        names = (await self._do(_LIST, path)).split(b"\0")[:-1]
        told = await self._do(f"{{ {_LIST}\n}} | {{ cd -- \"$1\" && xargs -0 -r stat -c '{_STAT}' --; }}", path)
        lines = told.splitlines()
        if len(lines) != len(names):
            raise asyncssh.SFTPFailure("the directory changed while it was read")
        for name, line in zip(names, lines, strict=True):
            yield asyncssh.SFTPName(name.removeprefix(b"./"), attrs=_attributes(line))

    async def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> _Open:
        writes = pflags & (asyncssh.FXF_WRITE | asyncssh.FXF_APPEND)
        file = tempfile.TemporaryFile(prefix="envup-sftp-")  # noqa: SIM115 - the client closes it
        try:
            opened = _Open(path, file, append=bool(pflags & asyncssh.FXF_APPEND))
            if writes:
                await self._do(_opening(pflags), path)
                opened.attributes.append(attrs)
            if not pflags & asyncssh.FXF_TRUNC:
                await self._do('exec cat -- "$1"', path, stdout=file)
        except BaseException:
            file.close()
            raise
        return opened

    def read(self, file_obj: object, offset: int, size: int) -> bytes:
        assert isinstance(file_obj, _Open)
        return os.pread(file_obj.file.fileno(), size, offset)

    def write(self, file_obj: object, offset: int, data: bytes) -> int:
        assert isinstance(file_obj, _Open)
        file_obj.changed = True
        descriptor = file_obj.file.fileno()
        return os.pwrite(descriptor, data, os.fstat(descriptor).st_size if file_obj.append else offset)

    async def close(self, file_obj: object) -> None:
        assert isinstance(file_obj, _Open)
        with file_obj.file as file:
            if file_obj.changed:
                file.seek(0)
                await self._do('exec cat > "$1"', file_obj.path, stdin=file)
        for attributes in file_obj.attributes:
            await self.setstat(file_obj.path, attributes)

    async def setstat(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        if attrs.size is not None:
            await self._do('exec truncate -s "$2" -- "$1"', path, str(attrs.size))
        if attrs.uid is not None and attrs.gid is not None:
            await self._do('exec chown "$2" -- "$1"', path, f"{attrs.uid}:{attrs.gid}")
        if attrs.permissions is not None:
            await self._do('exec chmod "$2" -- "$1"', path, f"{attrs.permissions & 0o7777:o}")
        if attrs.atime is not None and attrs.mtime is not None:
            times = 'touch -a -d "@$2" -- "$1" && touch -m -d "@$3" -- "$1"'
            await self._do(times, path, str(int(attrs.atime)), str(int(attrs.mtime)))

    async def fsetstat(self, file_obj: object, attrs: asyncssh.SFTPAttrs) -> None:
        assert isinstance(file_obj, _Open)
        if attrs.size is not None:
            file_obj.file.truncate(attrs.size)
            file_obj.changed, attrs.size = True, None
        file_obj.attributes.append(attrs)

    async def remove(self, path: bytes) -> None:
        await self._do('[ ! -d "$1" ] || [ -L "$1" ] || { echo "Is a directory" >&2; exit 1; }; exec rm -- "$1"', path)

    async def mkdir(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        await self._do('exec mkdir -- "$1"', path)
        await self.setstat(path, attrs)

    async def rmdir(self, path: bytes) -> None:
        await self._do('exec rmdir -- "$1"', path)

    async def rename(self, oldpath: bytes, newpath: bytes) -> None:
        there = '[ ! -e "$2" ] && [ ! -L "$2" ] || { echo "File exists" >&2; exit 1; }; '
        await self._do(f'{there}exec mv -- "$1" "$2"', oldpath, newpath)

    async def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        await self._do('exec mv -f -T -- "$1" "$2"', oldpath, newpath)

    async def readlink(self, path: bytes) -> bytes:
        return (await self._do('exec readlink -- "$1"', path)).removesuffix(b"\n")

    async def symlink(self, oldpath: bytes, newpath: bytes) -> None:
        await self._do('exec ln -s -- "$1" "$2"', oldpath, newpath)


def _opening(flags: int) -> str:
    """A script that fails where the file could not be opened so, and changes no more than that would."""
    if flags & asyncssh.FXF_CREAT and flags & asyncssh.FXF_EXCL:
        return 'set -C; : > "$1"'
    if flags & asyncssh.FXF_TRUNC:
        return ': > "$1"' if flags & asyncssh.FXF_CREAT else ': < "$1" && : > "$1"'
    return ': >> "$1"' if flags & asyncssh.FXF_CREAT else ': < "$1" && : >> "$1"'


def _attributes(line: bytes) -> asyncssh.SFTPAttrs:
    mode, size, owner, group, read, written = line.split()
    return asyncssh.SFTPAttrs(
        permissions=int(mode, 16), size=int(size), uid=int(owner), gid=int(group), atime=int(read), mtime=int(written)
    )
