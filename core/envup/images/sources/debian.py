"""What a lock file says of a system of Debian packages: its moment, its mirrors, the version of each package."""

from __future__ import annotations

import datetime
import re
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from envup.errors import EnvupError
from envup.images import pinning
from envup.model import Pin

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]*")
_VERSION = re.compile(r"[A-Za-z0-9.+:~-]+")
_MIRROR = re.compile(r"deb https?://[^\s@\[]+ [\w./~-]+( [\w./-]+)+")
_SNAPSHOT = re.compile(r"/(\d{8}T\d{6}Z)(?:/|\s|$)")
"""Of the URIs of snapshot.debian.org and snapshot.ubuntu.com."""
_TIME, _STAMP = "%Y-%m-%dT%H:%M:%SZ", "%Y%m%dT%H%M%SZ"


def is_snapshot(mirror: str) -> bool:
    """Whether a mirror has the archive as it was at one moment."""
    return _SNAPSHOT.search(mirror) is not None


def moment_of(mirror: str, now: float) -> int:
    """The time of a snapshot that a mirror is of; else the last midnight, so that two builds of one day are the
    same. Errors: `EnvupError`."""
    stamp = _SNAPSHOT.search(mirror)
    try:
        return _seconds(stamp[1], _STAMP) if stamp else int(now) // 86400 * 86400
    except ValueError as error:
        raise EnvupError(f"the `mirror` is a snapshot of no time that there is: {error}") from error


def locked_time(pin: Pin) -> int:
    """The moment that a lock file has. Errors: `EnvupError`."""
    try:
        return _seconds(pin.facts["time"], _TIME)
    except (KeyError, ValueError) as error:
        raise _useless(pin, "no time") from error


def locked_packages(pin: Pin) -> Mapping[str, str]:
    """Names and versions that a lock file has. Errors: `EnvupError`."""
    found = dict(_below(pin, "package"))
    for name, version in found.items():
        if not (_PACKAGE.fullmatch(name) and _VERSION.fullmatch(version)):
            raise _useless(pin, f"a package {name!r} of version {version!r}")
    if not found:
        raise _useless(pin, "no packages")
    return found


def locked_mirrors(pin: Pin) -> tuple[str, ...]:
    """Lines of sources.list(5) that a lock file has; none with options, which could set aside who signs. Errors:
    `EnvupError`."""
    lines = tuple(line for _, line in sorted(_below(pin, "mirror"), key=lambda pair: pair[0].zfill(9)))
    for line in lines:
        if not _MIRROR.fullmatch(line):
            raise _useless(pin, f"a mirror {line!r}")
    return lines


def _below(pin: Pin, group: str) -> Iterator[tuple[str, str]]:
    for name, value in pin.facts.items():
        first, _, rest = name.partition(".")
        if first == group:
            yield rest, value


def _useless(pin: Pin, what: str) -> EnvupError:
    brief = f"the lock file has {what} for an image that is to be built"
    return EnvupError(brief, hint=f"{pinning.update(pin)} locks it anew")


def _seconds(text: str, form: str) -> int:
    return int(datetime.datetime.strptime(text, form).replace(tzinfo=datetime.UTC).timestamp())


def pin_of(archive: Path, moment: int, *, own_mirrors: bool) -> Pin:
    """What is to be locked of a system that was built for a moment. `own_mirrors`: where it is from is not in the
    Envfile, so that the lock file has it; but for mirrors with a password or options."""
    facts = {"time": datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime(_TIME)}
    with tarfile.open(archive, mode="r:") as members:
        status, sources = (_text(members, name) for name in ("./var/lib/dpkg/status", "./etc/apt/sources.list"))
    facts |= {f"package.{name}": version for name, version in _installed(status)}
    lines = [line for line in sources.splitlines() if line]
    if own_mirrors and all(map(_MIRROR.fullmatch, lines)):
        facts |= {f"mirror.{number}": line for number, line in enumerate(lines, 1)}
    return Pin("", facts)


def _text(members: tarfile.TarFile, name: str) -> str:
    member = members.extractfile(name)
    assert member is not None, "these are files wherever there is apt"
    return member.read().decode()


def _installed(status: str) -> Iterator[tuple[str, str]]:
    """Names and versions of installed packages in the status file of dpkg."""
    for stanza in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if re.match(r"[\w-]+: ", line))
        if fields.get("Status", "").endswith(" installed"):
            yield fields["Package"], fields["Version"]
