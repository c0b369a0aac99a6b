"""Watches a tar stream on its way into a container: that it ends as an archive does, and that no name leads out."""

from __future__ import annotations

import tarfile
from typing import BinaryIO

_BLOCK = 512
_EXTENDED = {tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}
_DEVICES = {tarfile.CHRTYPE: "character device", tarfile.BLKTYPE: "block device"}
_LONGEST_HEADER = 1 << 24
_SPARSE_GOES_ON, _EXTENSION_GOES_ON = 482, 504
"""Where a block says that a list of holes goes on in the next one."""


class Refused(Exception):
    """The stream is no archive, is cut short, or has a member that is not copied; the text says which."""


class Members:
    """A readable stream that passes on what was looked at. Errors: `Refused` from `read`, also at an early end."""

    def __init__(self, archive: BinaryIO) -> None:
        self._archive = archive
        self._header = b""
        self._skip = 0
        self._extension: tarfile.TarInfo | None = None
        self._collected = b""
        self._overridden: dict[str, str] = {}
        self._holes = False
        self._ended = False

    def read(self, most: int) -> bytes:
        """Between one and `most` bytes; none at the end."""
        data = self._archive.read(most)
        if not data and not self._ended:
            raise Refused("the stream ended in the middle of the archive")
        self._look(data)
        return data

    def _look(self, data: bytes) -> None:
        at = 0
        while at < len(data) and not self._ended:
            if self._skip:
                step = min(self._skip, len(data) - at)
                if self._extension is not None:
                    self._collected += data[at : at + step]
                self._skip -= step
                at += step
            else:
                missing = _BLOCK - len(self._header)
                self._header += data[at : at + missing]
                at += missing
            if not self._skip and self._extension is not None:
                self._apply(self._extension)
            if len(self._header) == _BLOCK:
                block, self._header = self._header, b""
                self._meet(block)

    def _meet(self, block: bytes) -> None:
        """A block that is a header, or goes on with a list of holes."""
        if self._holes:
            self._holes = bool(block[_EXTENSION_GOES_ON])
            return
        try:
            member = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            self._ended = True
            return
        except tarfile.HeaderError as error:
            raise Refused(f"the stream is no tar archive: {error}") from None
        if member.type in _EXTENDED:
            if member.size > _LONGEST_HEADER:
                raise Refused("the stream is no tar archive: a header is too long")
            self._extension = member
            self._skip = _padded(member.size)
        elif member.type == tarfile.XGLTYPE:
            self._skip = _padded(member.size)
        else:
            self._check(member)
            self._holes = member.type == tarfile.GNUTYPE_SPARSE and bool(block[_SPARSE_GOES_ON])

    def _check(self, member: tarfile.TarInfo) -> None:
        name = self._overridden.get("path", member.name)
        if kind := _DEVICES.get(member.type):
            raise Refused(f"{name}: a {kind} is not copied into a machine")
        links = [self._overridden.get("linkpath", member.linkname)] if member.islnk() else []
        for path in (name, *links):
            if ".." in path.split("/"):
                raise Refused(f"{path}: leads out of the directory")
        size = int(self._overridden.get("size", member.size))
        self._skip = 0 if member.type in (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE) else _padded(size)
        self._overridden = {}

    def _apply(self, extension: tarfile.TarInfo) -> None:
        """What an extended header says of the member after it."""
        content, self._collected, self._extension = self._collected[: extension.size], b"", None
        if extension.type == tarfile.GNUTYPE_LONGNAME:
            self._overridden["path"] = _text(content.rstrip(b"\0"))
        elif extension.type == tarfile.GNUTYPE_LONGLINK:
            self._overridden["linkpath"] = _text(content.rstrip(b"\0"))
        else:
            self._overridden |= _records(content)


def _records(content: bytes) -> dict[str, str]:
    """`LENGTH KEY=VALUE` and a newline each, after pax(1)."""
    found = {}
    while content:
        digits, _space, _rest = content.partition(b" ")
        if not digits.isdigit() or int(digits) <= len(digits):
            raise Refused("the stream is no tar archive: an extended header is damaged")
        key, _equals, value = content[len(digits) + 1 : int(digits) - 1].partition(b"=")
        found[_text(key)] = _text(value)
        content = content[int(digits) :]
    return found


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
