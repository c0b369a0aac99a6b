"""Writes a file or a tree of a machine as a pax stream: modes, owners by number, exact times, links, extended
attributes."""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH115, PTH119, PTH208

from __future__ import annotations

import os
import stat
import tarfile

_BLOCK = 512
_ATTRIBUTES = ("user.", "security.capability", "system.posix_acl_")
_KINDS = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
}


def pack(path: str, output: int) -> list[str]:
    """Write `path` to the descriptor `output`, names beginning with its last part; what was left out, in words."""
    packer = _Packer(output)
    top = os.path.basename(path.rstrip("/")) or "."
    packer.add(path.rstrip("/") or "/", top)
    packer.finish()
    return packer.warnings


class _Packer:
    def __init__(self, output: int) -> None:
        self._output = output
        self._linked: dict[tuple[int, int], str] = {}
        self.warnings: list[str] = []

    def add(self, top: str, name: str) -> None:
        """Add a tree, depth first. A loop, as trees may be deeper than the interpreter's stack."""
        waiting = [(top, name)]
        while waiting:
            path, name = waiting.pop()
            status = os.lstat(path)
            if stat.S_ISSOCK(status.st_mode):
                self.warnings.append(f"{path}: a socket cannot be copied and was left out")
                continue
            self._add_one(path, name, status)
            if stat.S_ISDIR(status.st_mode):
                waiting += [
                    (f"{path.rstrip('/')}/{entry}", f"{name}/{entry}") for entry in sorted(os.listdir(path))[::-1]
                ]

    def _add_one(self, path: str, name: str, status: os.stat_result) -> None:
        member = tarfile.TarInfo(name)
        member.mode = stat.S_IMODE(status.st_mode)
        member.uid, member.gid = status.st_uid, status.st_gid
        member.type = _KINDS[stat.S_IFMT(status.st_mode)]
        member.mtime = status.st_mtime_ns // 10**9
        member.pax_headers = {"mtime": f"{member.mtime}.{status.st_mtime_ns % 10**9:09d}", **_attributes(path)}
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            first = self._linked.setdefault((status.st_dev, status.st_ino), name)
            if first != name:
                member.type, member.linkname = tarfile.LNKTYPE, first
        if member.type == tarfile.SYMTYPE:
            member.linkname = os.readlink(path)
        if member.ischr() or member.isblk():
            member.devmajor, member.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
        if member.type == tarfile.REGTYPE:
            self._add_file(path, member)
        else:
            self._write(member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))

    def _add_file(self, path: str, member: tarfile.TarInfo) -> None:
        source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            member.size = os.fstat(source).st_size
            self._write(member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
            left = member.size
            while left:
                sent = os.sendfile(self._output, source, None, left)
                if sent == 0:
                    raise OSError(0, "it became shorter while it was read", path)
                left -= sent
        finally:
            os.close(source)
        self._write(bytes(-member.size % _BLOCK))

    def finish(self) -> None:
        """The end-of-archive marker."""
        self._write(bytes(2 * _BLOCK))

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._output, data) :]


def _attributes(path: str) -> dict[str, str]:
    """Extended attributes as pax records; bytes that are no text survive as surrogates."""
    try:
        names = [name for name in os.listxattr(path, follow_symlinks=False) if name.startswith(_ATTRIBUTES)]
    except OSError:
        return {}
    values = {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
    return {f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape") for name, value in values.items()}
