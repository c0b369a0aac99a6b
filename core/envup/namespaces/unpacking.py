"""Unpacks a tar stream into a machine: modes, owners by number, times, links and extended attributes as they are in
it."""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH102, PTH103, PTH108, PTH112, PTH116, PTH120, PTH211

from __future__ import annotations

import errno
import os
import stat
import tarfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

_CHUNK = 1 << 20
_XATTR = "SCHILY.xattr."
_ATTRIBUTES = ("user.", "security.capability", "system.posix_acl_")


class _Archive(tarfile.TarFile):
    """Knows whether the end-of-archive marker was met: tarfile takes a stream that just stops for a whole one."""

    ended = False
    copybufsize = _CHUNK


class _Member(tarfile.TarInfo):
    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> _Member:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            archive.ended = True  # type: ignore[attr-defined]
            raise


def unpack(directory: str, stream: BinaryIO) -> list[str]:
    """Unpack below `directory`, which exists; what could not be kept, in words. Errors: `OSError`,
    `tarfile.TarError`."""
    if not stat.S_ISDIR(os.stat(directory).st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), directory)
    unpacker = _Unpacker(directory)
    with _Archive.open(
        fileobj=stream, mode="r|", bufsize=_CHUNK, tarinfo=_Member, encoding="utf-8", errorlevel=2
    ) as archive:
        while (member := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # keeps memory flat
            unpacker.add(archive, member)
    if not archive.ended:
        raise EOFError("the stream ended in the middle of the archive")
    while stream.read(_CHUNK):
        pass
    unpacker.finish()
    return unpacker.warnings


class _Unpacker:
    def __init__(self, directory: str) -> None:
        self._directory = directory.rstrip("/")
        self._directories: list[tuple[str, tarfile.TarInfo]] = []
        self.warnings: list[str] = []

    def add(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """Unpack one member; directories get their final mode and times in `finish`."""
        path = self._place(member.name)
        if member.isdir():
            self._make_directory(path)
            self._directories.append((path, member))
            return
        replaced = self._clear(path)
        if member.islnk():
            os.link(self._place(member.linkname), path, follow_symlinks=False)
        elif member.issym():
            os.symlink(member.linkname, path)
            self._dress_link(path, member)
        elif member.isfifo():
            os.mkfifo(path, member.mode & 0o777)
            self._dress_link(path, member)
        elif member.ischr() or member.isblk():
            raise ValueError(f"{path}: device nodes are not copied into a machine")
        else:
            self._make_file(archive, member, path, os.O_EXCL if replaced else os.O_TRUNC)

    def finish(self) -> None:
        """Modes and times of directories, innermost first, as making what is in them changes these."""
        for path, member in reversed(self._directories):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                self._dress(descriptor, path, member)
            finally:
                os.close(descriptor)

    def _make_file(self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: str, how: int) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | how, 0o600)
        try:
            archive.makefile(member, os.dup(descriptor))  # type: ignore[arg-type]  # open() takes both
            self._dress(descriptor, path, member)
        finally:
            os.close(descriptor)

    def _place(self, name: str) -> str:
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise ValueError(f"{name}: leads out of the directory")
        return "/".join([self._directory, *parts]) or "/"

    def _make_directory(self, path: str) -> None:
        """An existing directory stays, also behind a link: /lib of a machine is one."""
        if os.path.isdir(path):
            return
        self._clear(path)
        os.mkdir(path, 0o700)

    def _clear(self, path: str) -> bool:
        """Take away what is in the way, which a directory is not, and make parents that the stream does not name. False
        for a mounted file, which can be written and not replaced."""
        try:
            os.unlink(path)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path) or "/", 0o755, exist_ok=True)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            return False
        return True

    def _dress_link(self, path: str, member: tarfile.TarInfo) -> None:
        """Owner and time of what is not opened: a link or a pipe."""
        os.chown(path, member.uid, member.gid, follow_symlinks=False)
        time = _nanoseconds(member)
        os.utime(path, ns=(time, time), follow_symlinks=False)

    def _dress(self, descriptor: int, path: str, member: tarfile.TarInfo) -> None:
        os.chown(descriptor, member.uid, member.gid)
        os.chmod(descriptor, member.mode & 0o7777)
        for key, value in member.pax_headers.items():
            if key.startswith(_XATTR) and key[len(_XATTR) :].startswith(_ATTRIBUTES):
                self._set_attribute(descriptor, path, key[len(_XATTR) :], value)
        time = _nanoseconds(member)
        os.utime(descriptor, ns=(time, time))

    def _set_attribute(self, descriptor: int, path: str, name: str, value: str) -> None:
        try:
            os.setxattr(descriptor, name, value.encode("utf-8", "surrogateescape"))
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EPERM):
                raise
            self.warnings.append(f"{path}: extended attribute {name} was not kept: {error.strerror}")


def _nanoseconds(member: tarfile.TarInfo) -> int:
    """The time as the stream has it; tarfile's own floating point loses the last digits."""
    whole, _point, fraction = member.pax_headers.get("mtime", str(int(member.mtime))).partition(".")
    nanoseconds = int((fraction + "0" * 9)[:9])
    return int(whole) * 10**9 + (-nanoseconds if whole.startswith("-") else nanoseconds)


def explain(error: Exception) -> str:
    """One line for an error: the path and the reason where there are any."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
