"""SFTP for a machine that has no server for it: what the client asks for is done by a shell and coreutils or BusyBox.

A file that is open is a copy on the host, which is sent when the client closes it; one that is written from its
beginning to its end is sent as it comes.
"""

from __future__ import annotations

import errno
import os
import posixpath
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import IO, Any

import asyncssh

from envup.ssh.scripts import Scripts
from envup.ssh.writing import MAKE_DIRECTORY, Refused, Writing

_STAT = "%f %s %u %g %X %Y"
"""Of stat(1): mode in hexadecimal, size, owner, group, seconds since the epoch of access and of change."""
_LIST = """cd -- "$1" || exit
for name in .* *; do
  case $name in .|..) continue;; esac
  if [ -e "$name" ] || [ -L "$name" ]; then printf '%s\\0' "./$name"; fi
done"""
_FREE = '[ ! -e "$2" ] && [ ! -L "$2" ] || { echo "File exists" >&2; exit 1; }; '
_ADDING = asyncssh.FXF_WRITE | asyncssh.FXF_APPEND
_CANONICAL = 'cd -- "$1" 2>/dev/null && pwd -P || printf "%s\\n" "$1"'
_ERRORS = {
    b"No such file": errno.ENOENT,
    b"nonexistent": errno.ENOENT,
    b"Permission denied": errno.EACCES,
    b"File exists": errno.EEXIST,
    b"not empty": errno.ENOTEMPTY,
    b"Not a directory": errno.ENOTDIR,
    b"Is a directory": errno.EISDIR,
    b"No space left": errno.ENOSPC,
    b"Read-only file system": errno.EROFS,
}


class _Open:
    """A file that the client has open, `changed` once it wrote to the copy. While `writing` is there, there is none;
    `is_cut` then says that it ends where that does. One on which a request failed is not `is_whole` any more."""

    def __init__(self, path: bytes, file: IO[bytes], *, append: bool = False, writing: Writing | None = None) -> None:
        self.path, self.file, self.append, self.writing = path, file, append, writing
        self.changed, self.is_cut, self.is_whole = False, False, True
        self.attributes: list[asyncssh.SFTPAttrs] = []


def _whole(file_obj: object) -> _Open:
    """Errors: `asyncssh.SFTPFailure` where an earlier request on it failed."""
    assert isinstance(file_obj, _Open)
    if not file_obj.is_whole:
        raise asyncssh.SFTPFailure("an earlier request on this file has failed")
    return file_obj


class Files(asyncssh.SFTPServer):
    """The files of a machine as one user sees them. Relative paths begin at the home of that user."""

    def __init__(self, chan: Any, scripts: Scripts) -> None:
        super().__init__(chan)
        self._scripts = scripts

    async def _do(self, script: str, *arguments: bytes | str, **streams: Any) -> bytes:
        """What it wrote. Errors: `OSError` or `asyncssh.SFTPFailure` with what it complained of."""
        code, output, complaint = await self._scripts.run(script, *map(os.fsdecode, arguments), **streams)
        if code:
            with _told():
                raise Refused(code, complaint)
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
        opened = _whole(file_obj)
        await self._settle(opened)
        known = await self.stat(opened.path)
        known.size = os.fstat(opened.file.fileno()).st_size
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
        append = bool(pflags & asyncssh.FXF_APPEND)
        file = tempfile.TemporaryFile(prefix="envup-sftp-")  # noqa: SIM115 - the client closes it
        try:
            if append or pflags & asyncssh.FXF_WRITE:
                with _told():
                    writing = await Writing.start(self._scripts, pflags, os.fsdecode(path), _mode(attrs))
                return _Open(path, file, append=append, writing=writing)
            await self._do('exec cat -- "$1"', path, stdout=file)
        except BaseException:
            file.close()
            raise
        return _Open(path, file)

    async def read(self, file_obj: object, offset: int, size: int) -> bytes:
        opened = _whole(file_obj)
        await self._settle(opened)
        return os.pread(opened.file.fileno(), size, offset)

    async def write(self, file_obj: object, offset: int, data: bytes) -> int:
        opened = _whole(file_obj)
        if opened.append and opened.writing is None:
            with _told():
                opened.writing = await Writing.start(self._scripts, _ADDING, os.fsdecode(opened.path), "")
        if opened.writing is not None and (opened.append or offset == opened.writing.position):
            with _told():
                await opened.writing.write(data)
            return len(data)
        await self._settle(opened)
        opened.changed = True
        return os.pwrite(opened.file.fileno(), data, offset)

    async def _settle(self, opened: _Open) -> None:
        """Go on with a copy, where the client does more than to write on and on. Where that fails, no request on the
        file is done any more."""
        if opened.writing is not None:
            opened.is_whole = False
            await self._end_writing(opened)
            opened.file.truncate(0)
            await self._do('exec cat -- "$1"', opened.path, stdout=opened.file)
            opened.is_whole = True

    async def _end_writing(self, opened: _Open) -> None:
        writing, opened.writing = opened.writing, None
        assert writing is not None
        with _told():
            await writing.end()
        if opened.is_cut and writing.position < writing.size:
            await self._truncate(opened.path, writing.position)

    async def _truncate(self, path: bytes, size: int) -> None:
        await self._do('exec truncate -s "$2" -- "$1"', path, str(size))

    async def close(self, file_obj: object) -> None:
        assert isinstance(file_obj, _Open)
        with file_obj.file as file:
            if file_obj.writing is not None:
                await self._end_writing(file_obj)
            elif file_obj.changed and file_obj.is_whole:
                file.seek(0)
                await self._do('exec cat > "$1"', file_obj.path, stdin=file)
        for attributes in file_obj.attributes:
            await self.setstat(file_obj.path, attributes)

    async def setstat(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        if attrs.size is not None:
            await self._truncate(path, attrs.size)
        if attrs.uid is not None and attrs.gid is not None:
            await self._do('exec chown "$2" -- "$1"', path, f"{attrs.uid}:{attrs.gid}")
        if mode := _mode(attrs):
            await self._do('exec chmod "$2" -- "$1"', path, mode)
        if attrs.atime is not None and attrs.mtime is not None:
            times = 'touch -a -d "@$2" -- "$1" && touch -m -d "@$3" -- "$1"'
            await self._do(times, path, str(int(attrs.atime)), str(int(attrs.mtime)))

    async def fsetstat(self, file_obj: object, attrs: asyncssh.SFTPAttrs) -> None:
        opened = _whole(file_obj)
        if attrs.size is not None:
            await self._cut(opened, attrs.size)
            attrs.size = None
        opened.attributes.append(attrs)

    async def _cut(self, opened: _Open, size: int) -> None:
        """Have the file be of that size. So do clients end one, where they have written."""
        if opened.append:
            if opened.writing is not None:
                await self._end_writing(opened)
            await self._truncate(opened.path, size)
        elif opened.writing is not None and size == opened.writing.position:
            opened.is_cut = True
        else:
            await self._settle(opened)
            opened.file.truncate(size)
            opened.changed = True

    async def remove(self, path: bytes) -> None:
        await self._do('[ ! -d "$1" ] || [ -L "$1" ] || { echo "Is a directory" >&2; exit 1; }; exec rm -- "$1"', path)

    async def mkdir(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> None:
        await self._do(MAKE_DIRECTORY, path, _mode(attrs))
        attrs.permissions = None
        await self.setstat(path, attrs)

    async def rmdir(self, path: bytes) -> None:
        await self._do('exec rmdir -- "$1"', path)

    async def rename(self, oldpath: bytes, newpath: bytes) -> None:
        await self._do(f'{_FREE}exec mv -- "$1" "$2"', oldpath, newpath)

    async def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        await self._do('exec mv -f -T -- "$1" "$2"', oldpath, newpath)

    async def readlink(self, path: bytes) -> bytes:
        return (await self._do('exec readlink -- "$1"', path)).removesuffix(b"\n")

    async def symlink(self, oldpath: bytes, newpath: bytes) -> None:
        await self._do(f'{_FREE}exec ln -s -- "$1" "$2"', oldpath, newpath)


@contextmanager
def _told() -> Iterator[None]:
    """Raises what a script complained of as an error that the client knows."""
    try:
        yield
    except Refused as error:
        number = next((number for text, number in _ERRORS.items() if text in error.complaint), None)
        if number is not None:
            raise OSError(number, os.strerror(number)) from error
        raise asyncssh.SFTPFailure(str(error)) from error


def _mode(attributes: asyncssh.SFTPAttrs) -> str:
    return "" if attributes.permissions is None else f"{attributes.permissions & 0o7777:o}"


def _attributes(line: bytes) -> asyncssh.SFTPAttrs:
    mode, size, owner, group, read, written = line.split()
    return asyncssh.SFTPAttrs(
        permissions=int(mode, 16), size=int(size), uid=int(owner), gid=int(group), atime=int(read), mtime=int(written)
    )
