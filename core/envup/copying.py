"""Copying between the host and a machine: cp's rules for names, and who owns what arrives.

A target that is a directory, or ends in `/`, is copied into; a source that ends in `/.` stands for what is in it. A
source that is itself a symbolic link on the host is followed; links below it are kept. Paths in a machine count from
its root.
"""

from __future__ import annotations

import io
import os
import posixpath
import re
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from envup import tarpipe
from envup.errors import EnvupError, UsageError
from envup.selection import Selection
from envup.value import Value

if TYPE_CHECKING:
    from envup.machine import Machine

_LOOK = """n=0
for path do
  if [ -d "$path" ]; then echo "envup directory $n"; exit 0; fi
  if [ -e "$path" ] || [ -L "$path" ]; then echo "envup other $n"; [ "$n" = 0 ] || exit 0; fi
  n=$((n + 1))
done
"""
"""Says of the paths given which is the first directory, and which before it is something else. Builtins only."""


_ALL = Selection()


class Attributes(Value):
    """What files are given when they arrive in a machine. `owner` and `group` are names or numbers there. Without
    `owner`, numbers are kept, but what belongs to the caller becomes root's; without `group`, it is the owner's own.
    `mode` is for files; a directory may be searched as well by whom it lets read."""

    owner: str | None = None
    group: str | None = None
    mode: int | None = None


def copy_into(machine: Machine, source: str, target: str) -> None:
    """`env copy SOURCE MACHINE:TARGET`. `-` unpacks a tar stream from standard input below `target`, a directory.

    Errors: `EnvupError`.
    """
    if source != "-":
        send(machine, source, target, Attributes())
        return
    if sys.stdin.isatty():
        raise UsageError("`copy -` reads a tar stream, and standard input is a terminal")
    machine.provider.send(machine.instance, _absolute(target), sys.stdin.buffer)


def copy_out(machine: Machine, path: str, target: str) -> None:
    """`env copy MACHINE:PATH TARGET`. `-` writes a tar stream to standard output. Errors: `EnvupError`."""
    if target != "-":
        fetch(machine, path, target)
        return
    if sys.stdout.isatty():
        raise UsageError("`copy … -` writes a tar stream, and standard output is a terminal")
    sys.stdout.flush()
    machine.pack(_absolute(path), sys.stdout.buffer)


def send(
    machine: Machine,
    source: Path | str,
    target: str,
    attributes: Attributes,
    selection: Selection = _ALL,
    *,
    spare: bool = False,
) -> None:
    """Copy from the host into a machine, of a directory the selection; parents that are missing there are made. With
    `spare` nothing is sent that is the same there. Errors: `EnvupError`."""
    with _told(f"cannot copy {source} into machine '{machine.name}'"):
        contents = os.fspath(source).endswith("/.")
        path = Path(source).resolve(strict=True)
        if contents and not path.is_dir():
            raise EnvupError(f"{path} is not a directory")
        wanted = _absolute(target)
        directory, missing, exists = _look(machine, wanted)
        into = not contents and (target.endswith("/") or exists == "directory")
        if exists == "other" and (into or path.is_dir()):
            raise EnvupError(f"{wanted} in machine '{machine.name}' is not a directory")
        if into:
            name = posixpath.join(*missing, _name_of(source))
        else:
            name, missing = posixpath.join(*missing) if missing else "", missing[:-1]
        change = _change(*identify(machine, attributes), attributes)

        def skipped(left_out: Path) -> None:
            machine.emit("warning", f"{left_out} is a socket or a device node and was not copied")

        options: dict[str, Any] = {"selection": selection, "skipped": skipped}
        if spare and exists:
            from envup.spared import Spared

            names = [inside for _path, inside in tarpipe.walk(path, name, selection)]
            options["spared"] = Spared(machine, directory, names)

        def produce(sink: BinaryIO) -> None:
            made = tuple(posixpath.join(*missing[: count + 1]) for count in range(len(missing)))
            tarpipe.pack(sink, path, name, change=change, directories=made, **options)

        with tarpipe.filled_by(produce) as stream:
            machine.provider.send(machine.instance, directory, stream)


def write(machine: Machine, path: str, content: bytes, attributes: Attributes) -> None:
    """Put one file into a directory of the machine that exists. Errors: `EnvupError`."""
    directory, name = posixpath.split(_absolute(path))
    member = tarfile.TarInfo(name)
    member.size, member.mtime = len(content), int(time.time())
    member = _change(*identify(machine, attributes), attributes)(member)

    def produce(sink: BinaryIO) -> None:
        with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            archive.addfile(member, io.BytesIO(content))

    with _told(f"cannot write {path} in machine '{machine.name}'"), tarpipe.filled_by(produce) as stream:
        machine.provider.send(machine.instance, directory, stream)


def fetch(machine: Machine, path: str, target: str) -> None:
    """Copy from a machine to the host; parents that are missing are made. Errors: `EnvupError`."""
    wanted = _absolute(path)
    root = posixpath.basename(wanted)
    if not root:
        raise UsageError(
            "the root directory of a machine cannot be copied as files", hint="copy it to `-` as a tar stream"
        )
    final = Path(target)
    if not path.endswith("/.") and (target.endswith("/") or final.is_dir()):
        final /= root
    with (
        _told(f"cannot copy {wanted} from machine '{machine.name}' to {target}"),
        tarpipe.filled_by(lambda sink: machine.pack(wanted, sink)) as stream,
    ):
        tarpipe.unpack(stream, root, final.absolute())


def identify(machine: Machine, attributes: Attributes) -> tuple[int | None, int | None]:
    """The numbers of an owner and a group in a machine; None to keep what is. Errors: `EnvupError`, who is unknown."""
    owner, group = attributes.owner, attributes.group
    user, own_group = _user(machine, owner) if owner is not None else (None, None)
    if group is None:
        return user, own_group
    if group.isdecimal():
        return user, int(group)
    for fields in _database(machine, "/etc/group"):
        if fields[0] == group:
            return user, int(fields[2])
    raise EnvupError(f"machine '{machine.name}' has no group '{group}'")


def _user(machine: Machine, owner: str) -> tuple[int, int]:
    if owner in ("root", "0"):
        return 0, 0
    column = 2 if owner.isdecimal() else 0
    for fields in _database(machine, "/etc/passwd"):
        if fields[column] == owner:
            return int(fields[2]), int(fields[3])
    if owner.isdecimal():
        return int(owner), 0
    raise EnvupError(f"machine '{machine.name}' has no user '{owner}'", hint="make the user in an earlier step")


def _database(machine: Machine, path: str) -> Iterator[list[str]]:
    """The records of passwd(5) or group(5) that are whole."""
    with tarpipe.filled_by(lambda sink: machine.pack(path, sink)) as stream:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            member = archive.next()
            file = archive.extractfile(member) if member is not None and member.isreg() else None
            text = file.read().decode(errors="replace") if file else ""
        while stream.read(1 << 16):
            pass
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) > 3 and fields[2].isdecimal():
            yield fields


def _change(user: int | None, group: int | None, attributes: Attributes) -> tarpipe.Change:
    caller, callers_group = os.geteuid(), os.getegid()

    def change(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = user if user is not None else 0 if member.uid == caller else member.uid
        member.gid = group if group is not None else 0 if member.gid == callers_group else member.gid
        member.uname = member.gname = ""
        if attributes.mode is not None and not member.issym():
            searchable = (attributes.mode & 0o444) >> 2 if member.isdir() else 0
            member.mode = attributes.mode | searchable
        return member

    return change


def _look(machine: Machine, target: str) -> tuple[str, Sequence[str], str]:
    """(the deepest directory above or at `target`, the names that are missing below it, what `target` is)."""
    candidates = [target]
    while candidates[-1] != "/":
        candidates.append(posixpath.dirname(candidates[-1]))
    result = machine.run(("/bin/sh", "-c", _LOOK, "sh", *candidates), user="0", workdir="/", check=False, quiet=True)
    found = [match.groups() for line in result.tail if (match := re.fullmatch(r"envup (\w+) (\d+)", line))]
    if result.exit_code or not found:
        raise EnvupError(
            f"machine '{machine.name}' has no /bin/sh that tells what is in it", details="\n".join(result.tail)
        )
    kind, place = found[-1][0], int(found[-1][1])
    if kind == "other" and place > 0:
        raise EnvupError(f"{candidates[place]} in machine '{machine.name}' is not a directory")
    missing = [posixpath.basename(path) for path in reversed(candidates[:place])]
    return candidates[place], missing, found[0][0] if found[0][1] == "0" else ""


def _name_of(source: Path | str) -> str:
    """The name that a source arrives under; `.` and `..` have the name of the directory that they stand for."""
    path = Path(source)
    return path.name if path.name not in ("", "..") else path.resolve().name


def _absolute(path: str) -> str:
    plain = posixpath.normpath(f"/{path}")
    return "/" + plain.lstrip("/")


@contextmanager
def _told(brief: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        raise EnvupError(f"{brief}: {place}{error.strerror or error}") from error
    except tarfile.TarError as error:
        raise EnvupError(f"{brief}: the stream is damaged or was cut short: {error}") from error
