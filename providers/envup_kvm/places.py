"""What a command needs to reach a running machine, in a directory below the provider's `runtime`: see `link`.

Nothing of it is needed after the machine has stopped; each start makes it anew.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import shlex
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envup.namespaces import directories, programs
from envup_kvm import commands, connection, domain_labels, link
from envup_kvm.machines import FACTS
from envup_kvm.server import PORT

KEY, HOST_KEY = "key", "host_key"
_GRAIN = 1 << 16
"""Bytes: what machines of one layer are told has one size, as a disk cannot change its own across their memory."""
_SERVER = """\
HostKey /facts/host_key
AuthorizedKeysFile /facts/authorized_keys
AuthenticationMethods publickey
PermitRootLogin prohibit-password
UsePAM no
StrictModes no
MaxSessions 0
AllowTcpForwarding local
AllowAgentForwarding no
AllowStreamLocalForwarding local
X11Forwarding no
PermitTTY no
PermitUserRC no
ClientAliveInterval 0
TCPKeepAlive no
LogLevel ERROR
"""
"""sshd_config(5) of a machine: the one key opens connections to the agent's socket, and nothing else."""


def make_keys(directory: Path) -> None:
    """A key pair for each side. Errors: `EnvupError`."""
    for name in (KEY, HOST_KEY):
        line = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "envup", "-f", str(directory / name))
        programs.run(line, "cannot make a key pair")


def make(place: Path, keys: Path, facts: Mapping[str, Any]) -> None:
    """Make the place of a machine that is about to start. Errors: `OSError`, `EnvupError`."""
    _lay_out(place, keys)
    _write_bytes(place / FACTS, _told(keys, json.dumps(facts)))


def told(place: Path) -> tuple[int, str]:
    """(bytes, digest) of what a machine that starts is told, in which are keys of its own. Errors: `OSError`."""
    content = (place / FACTS).read_bytes()
    return len(content), hashlib.sha256(content).hexdigest()


def make_again(place: Path, keys: Path, size: int) -> None:
    """The same for one that goes on from its memory, where it has its facts: those here are `size` empty bytes until
    `tell_again`. Errors: `OSError`, `EnvupError`."""
    _lay_out(place, keys)
    _write_bytes(place / FACTS, bytes(size))


def tell_again(place: Path, keys: Path, facts: str) -> None:
    """Give a machine its own facts, which it reads when it restarts itself, on no disk afterwards. Errors:
    `OSError`."""
    content = _told(keys, facts)
    with (place / FACTS).open("r+b") as file:
        if len(content) != file.seek(0, io.SEEK_END):
            raise OSError(errno.EBADMSG, "the machine does not tell what it was told", str(place / FACTS))
        file.seek(0)
        file.write(content)
    (place / FACTS).unlink()


def _lay_out(place: Path, keys: Path) -> None:
    if place.exists():
        programs.remove(place)
    place.mkdir(mode=0o711, parents=True)
    known = directories.read(f"{keys}/{directories.MACHINE}") or {}
    if connection.is_apart(known["uri"]):
        (place / link.PORT).touch()
    _write(place / link.CONFIG, _config(known))
    _write(place / KEY, (keys / KEY).read_text())
    _write(place / "known_hosts", f"machine {(keys / HOST_KEY).with_suffix('.pub').read_text()}")


def _config(known: Mapping[str, Any]) -> str:
    is_apart = connection.is_apart(known["uri"])
    there = commands.remote("remote_proxy", known["uri"], domain_labels.name(known["labels"]), PORT)
    line = there if is_apart else commands.proxy(link.PORT)
    return link.config(shlex.join(line).replace("%", "%%"), passes=not is_apart)


def _told(keys: Path, facts: str) -> bytes:
    files = {
        "machine.json": facts,
        "sshd_config": _SERVER,
        "host_key": (keys / HOST_KEY).read_text(),
        "authorized_keys": (keys / KEY).with_suffix(".pub").read_text(),
    }
    return _packed(files)


def _packed(files: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, text in files.items():
            content = text.encode("utf-8", "surrogateescape")
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o600
            archive.addfile(member, io.BytesIO(content))
    content = buffer.getvalue()
    return content + bytes(-len(content) % _GRAIN)


def _write(path: Path, text: str) -> None:
    _write_bytes(path, text.encode())


def _write_bytes(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
