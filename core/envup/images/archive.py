"""The hub form of an image, a root file system tar: checked when it enters the store, unpacked safely by providers.

`inspect` reads headers only. `unpack` uses GNU tar, which guards against symbolic links by itself as well.
"""

from __future__ import annotations

import contextlib
import os
import tarfile
from pathlib import Path

from envup.errors import EnvupError
from envup.images import tools
from envup.images.members import Rules
from envup.value import Value

MOST_MEMBERS = 4_000_000
"""An archive with more members is refused."""

_ELF_MACHINES = {3: "i386", 40: "armhf", 62: "amd64", 183: "arm64", 243: "riscv64"}
"""`e_machine` of the ELF specification to Debian's name."""

_UNPACK = (
    "--extract",
    "--numeric-owner",
    "--same-owner",
    "--same-permissions",
    "--delay-directory-restore",
    "--xattrs",
    "--xattrs-include=user.*",
    "--xattrs-include=security.capability",
    "--xattrs-exclude=user.overlay.*",
    "--anchored",
    "--exclude=./dev/*",
    "--exclude=dev/*",
    "--warning=no-timestamp",
)


class Contents(Value):
    """What `inspect` saw. `size` is the bytes that the files will take; `architecture` is Debian's name or empty."""

    members: int
    size: int
    architecture: str


def inspect(path: Path, *, devices: bool = True) -> Contents:
    """Walk the headers of a hub form. `devices` tolerates device nodes below `dev/`, which `unpack` leaves out.

    Errors: `EnvupError` when a member would land outside, the archive is cut short, damaged or empty, or it declares
    more than the file system that holds it can take.
    """
    free = _free_space(path)
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:", errorlevel=2) as archive:
            contents = _walk(archive, Rules("the archive", devices=devices), free)
            _check_end(path, archive.offset)
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise EnvupError(f"the archive is damaged or cut short: {error}") from error
    except OSError as error:
        raise EnvupError(f"cannot read the archive: {error.strerror}") from error
    if not contents.members:
        raise EnvupError("the archive is empty")
    return contents


def _walk(archive: tarfile.TarFile, rules: Rules, free: int) -> Contents:
    members = size = 0
    architecture = ""
    while (member := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]  # keeps memory flat over millions of members
        name = rules.admit(member)
        members += 1 if name else 0
        size += member.size
        if members > MOST_MEMBERS:
            raise EnvupError(f"the archive has more than {MOST_MEMBERS} members")
        if size > free:
            raise EnvupError(
                f"the archive declares more than the {free >> 20} MiB that are free",
                hint="free some space on that disk",
            )
        if not architecture and member.isreg() and name.startswith(("bin/", "usr/bin/", "sbin/", "usr/sbin/")):
            architecture = _architecture(archive, member)
    return Contents(members, size, architecture)


def _architecture(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    stream = archive.extractfile(member)
    head = stream.read(20) if stream else b""
    if len(head) < 20 or head[:4] != b"\x7fELF":
        return ""
    machine = int.from_bytes(head[18:20], "little" if head[5] == 1 else "big")
    return _ELF_MACHINES.get(machine, "")


def _check_end(path: Path, offset: int) -> None:
    """tarfile takes a damaged header for the end of the archive; the real end is a block of zeros."""
    with path.open("rb") as file:
        file.seek(offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise EnvupError(f"the archive is damaged or cut short: no member and no end at byte {offset}")


def _free_space(path: Path) -> int:
    try:
        status = os.statvfs(path)
    except OSError as error:
        raise EnvupError(f"cannot read the archive: {error.strerror}") from error
    return status.f_bavail * status.f_frsize


def unpack(archive: Path, target: Path, *, argv_prefix: tuple[str, ...] = ()) -> None:
    """Unpack a hub form into the new directory `target`, which appears whole or not at all.

    `argv_prefix` is put before each program that writes or removes, such as one that enters a user namespace. What is
    below /dev is left out: a provider makes its own. Errors: `EnvupError`, with nothing left.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{os.urandom(4).hex()}")
    try:
        tools.run((*argv_prefix, "mkdir", "--mode=755", "--", str(temporary)))
        source = ("--file", str(archive), "--directory", str(temporary))
        tools.run((*argv_prefix, "tar", *_UNPACK, *source))
        tools.run(("sync", "--file-system", str(temporary)))
        temporary.rename(target)
    except BaseException as error:
        _remove(temporary, argv_prefix)
        if isinstance(error, OSError):
            raise EnvupError(f"cannot unpack an image to {target}: {error.strerror}") from error
        raise


def _remove(directory: Path, argv_prefix: tuple[str, ...]) -> None:
    """Also when envup is being interrupted, which is why it does not go through `children`."""
    import subprocess

    with contextlib.suppress(OSError):
        subprocess.run((*argv_prefix, "rm", "-rf", "--", str(directory)), check=False, start_new_session=True)
