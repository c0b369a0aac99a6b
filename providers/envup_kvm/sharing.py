"""Shares host paths with one machine: `sharing LISTENER`, with a line of JSON on standard input, which stays open as
long as the one who starts the machine is there.

    0 1 2 …     the paths, in a directory that nobody else sees and nobody can write

virtiofsd has that directory as its root and ends with the machine's connection. When standard input ends and there was
no connection yet, there will be none: virtiofsd finds the socket shut and ends, however the starter went.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys

from envup.namespaces import syscalls, userns
from envup.namespaces.declared import Declared, MountError
from envup.namespaces.syscalls import MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_RDONLY, MS_REC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DIRECTORY = "/run"
"""Where the shared paths are, in the mount namespace of this process."""
READY = b"ready\n"
_MS_REMOUNT, _MS_BIND = 0x20, 0x1000


def main(arguments: list[str]) -> int:
    """Exit code 0 after standard input or virtiofsd ended, 1 with the reason on standard error."""
    listener = socket.socket(fileno=int(arguments[0]))
    config: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    try:
        if config["maps"]:
            userns.enter(*config["maps"])
        _gather(config["mounts"])
        daemon = _start(config["line"], {"ENVUP_MACHINE": config["place"]}, listener.fileno())
    except MountError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}\n")
        return 1
    os.write(1, READY)
    _wait(daemon)
    listener.shutdown(socket.SHUT_RD)
    return 0


def _gather(mounts: list[tuple[str, bool]]) -> None:
    """Put the paths together. Errors: `MountError`, `OSError`."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", None, MS_REC | MS_PRIVATE)
    sources = [Declared(source, f"{DIRECTORY}/{n}", read_only=only) for n, (source, only) in enumerate(mounts)]
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    syscalls.mount("tmpfs", DIRECTORY, "tmpfs", flags, "mode=755,size=1m")
    for source in sources:
        source.attach()
    syscalls.mount("none", DIRECTORY, None, _MS_REMOUNT | _MS_BIND | MS_RDONLY | flags)


def _start(line: list[str], environment: dict[str, str], listener: int) -> int:
    """A descriptor of the new process. Errors: `OSError`."""
    os.set_inheritable(listener, True)
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    streams = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, 2, 1)]
    process = os.posix_spawn(line[0], line, environment, file_actions=streams)
    os.close(null)
    return os.pidfd_open(process)


def _wait(daemon: int) -> None:
    """For its end, or for that of standard input."""
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.register(daemon, select.POLLIN)
    poll.poll()
