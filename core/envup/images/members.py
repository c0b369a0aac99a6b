"""The rules that the members of a tar archive must keep so that unpacking it writes nothing outside the target."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator

from envup.errors import EnvupError

_LINKS_AND_NODES = (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
_KNOWN = frozenset((*tarfile.REGULAR_TYPES, *_LINKS_AND_NODES, tarfile.DIRTYPE))


class Refused(EnvupError):
    """An archive holds a member that breaks a rule."""


class Rules:
    """Checks the members of one archive in their order. `where` names the archive in errors.

    `devices` allows device nodes below `dev/`. `strict` is for an unpacker that writes through what is there: a hard
    link must then name a file that came before, and no member may take the place of a symbolic link.
    """

    def __init__(self, where: str, *, devices: bool = False, strict: bool = False) -> None:
        self._where, self._devices, self._strict = where, devices, strict
        self._links: set[str] = set()
        self._files: set[str] = set()

    def admit(self, member: tarfile.TarInfo) -> str:
        """The member's name, relative and without `.` parts; empty for the root itself. Errors: `Refused`."""
        name = self._inside(member.name, member, "its name")
        self._check_kind(member, name)
        if self._strict and name in self._links and not member.issym():
            raise self._refused(member, "it takes the place of a symbolic link")
        if member.issym():
            self._links.add(name)
        elif member.islnk():
            self._check_hard_link(member, name)
        elif self._strict and member.isreg():
            self._files.add(name)
        return name

    @staticmethod
    def plain(name: str) -> str:
        """A name without `.` parts and doubled slashes."""
        return "/".join(part for part in name.split("/") if part not in ("", "."))

    def _inside(self, name: str, member: tarfile.TarInfo, what: str) -> str:
        if name.startswith("/"):
            raise self._refused(member, f"{what} is absolute")
        if ".." in name.split("/"):
            raise self._refused(member, f"{what} leads out of the archive")
        plain = self.plain(name)
        if self._links and any(parent in self._links for parent in _parents(plain)):
            raise self._refused(member, f"{what} leads through a symbolic link of the archive")
        return plain

    def _check_kind(self, member: tarfile.TarInfo, name: str) -> None:
        if member.type not in _KNOWN and not member.issparse():
            raise self._refused(member, f"its type {member.type!r} is not known")
        if member.size < 0:
            raise self._refused(member, "its size is negative")
        if not name and not member.isdir():
            raise self._refused(member, "it takes the place of the root directory")
        if (member.ischr() or member.isblk()) and not (self._devices and name.startswith("dev/")):
            raise self._refused(member, "it is a device node" + (" outside dev/" if self._devices else ""))

    def _check_hard_link(self, member: tarfile.TarInfo, name: str) -> None:
        target = self._inside(member.linkname, member, "its link target")
        if not target:
            raise self._refused(member, "it is a hard link to the root directory")
        if self._strict and target not in self._files:
            raise self._refused(member, "it is a hard link to what is not a file before it in the archive")
        if target in self._links:
            self._links.add(name)
        elif self._strict:
            self._files.add(name)

    def _refused(self, member: tarfile.TarInfo, reason: str) -> Refused:
        return Refused(f"{self._where} is refused: member {member.name!r}: {reason}")


def _parents(name: str) -> Iterator[str]:
    end = name.find("/")
    while end != -1:
        yield name[:end]
        end = name.find("/", end + 1)
