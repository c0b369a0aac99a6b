"""A machine's root file system on its way to an image: without what makes it that machine.

Left out are what the kernel and a running system fill anew (/dev, /proc, /sys, /run), the machine's id, and what envup
and its backends write into each machine.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from envup.errors import EnvupError
from envup.images import metadata
from envup.images.members import Rules
from envup.namespaces import guestfiles

_FILLED_ANEW = ("dev/", "proc/", "sys/", "run/")
_LEFT_OUT = {".dockerenv", "lost+found", "etc/hostname", "var/lib/dbus/machine-id"}
_MOST = 1 << 20
"""Bytes of a file that envup writes; a larger one is somebody else's."""


def _without_block(content: bytes) -> bytes | None:
    """/etc/hosts; an empty one is a place that a backend mounts its own on."""
    return (
        guestfiles.without_block(content.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape") or None
    )


def _resolver(content: bytes) -> bytes | None:
    return None if guestfiles.is_own_resolver(content.decode("utf-8", "surrogateescape")) else content or None


_REWRITTEN: Mapping[str, Callable[[bytes], bytes | None]] = {
    "etc/machine-id": lambda _content: b"",
    "etc/hosts": _without_block,
    "etc/resolv.conf": _resolver,
}
"""What becomes of these files, None for nothing."""


def write(source: BinaryIO, target: BinaryIO, facts: Mapping[str, Any]) -> None:
    """Pass the tar stream of a machine's files on as an image that says `facts` of itself. Errors: `EnvupError` for a
    stream that is no archive or cut short, `OSError`."""
    dropped: set[str] = set()
    form: dict[str, Any] = {"format": tarfile.PAX_FORMAT, "pax_headers": metadata.header(facts)}
    try:
        with (
            tarfile.open(fileobj=source, mode="r|", errorlevel=2) as coming,
            tarfile.open(fileobj=target, mode="w|", **form) as going,
        ):
            while (member := coming.next()) is not None:
                coming.members.clear()  # type: ignore[attr-defined]  # keeps memory flat over millions of members
                name = Rules.plain(member.name)
                if not _pass_on(coming, going, member, name, dropped):
                    dropped.add(name)
                going.members.clear()  # type: ignore[attr-defined]
    except tarfile.TarError as error:
        raise EnvupError(f"the files of the machine came cut short: {error}") from error


def _pass_on(
    coming: tarfile.TarFile, going: tarfile.TarFile, member: tarfile.TarInfo, name: str, dropped: set[str]
) -> bool:
    """Whether the member is part of the image."""
    if name in _LEFT_OUT or name.startswith(_FILLED_ANEW):
        return False
    if member.islnk() and Rules.plain(member.linkname) in dropped:
        raise EnvupError(f"/{name} is a hard link to /{Rules.plain(member.linkname)}, which no image has")
    member.uname = member.gname = ""
    member.pax_headers = {key: text for key, text in member.pax_headers.items() if key not in ("hdrcharset", "comment")}
    content = coming.extractfile(member) if member.isreg() else None
    if content is not None and name in _REWRITTEN and member.size <= _MOST:
        left = _REWRITTEN[name](content.read())
        if left is None:
            return False
        member.size, content = len(left), io.BytesIO(left)
        member.pax_headers = {key: text for key, text in member.pax_headers.items() if key != "size"}
    going.addfile(member, content)
    return True
