"""Enters a user namespace in which the caller is root and its subordinate ids are everybody else.

Used by the holder of a rootless machine, and as a program of its own (`userns UIDS GIDS -- COMMAND…`) to
run a host tool such as tar there. A map is written `inside:outside:count,…`.
"""

from __future__ import annotations

import os
import sys

from envup.namespaces import syscalls


def enter(uids: str, gids: str) -> None:
    """Leave for a new user namespace with these maps, as its root. Needs newuidmap and newgidmap (package uidmap)."""
    parent = os.getpid()
    reader, writer = os.pipe()
    mapper = os.fork()
    if mapper == 0:
        os.close(writer)
        os._exit(_write_maps(reader, parent, uids, gids))
    os.close(reader)
    syscalls.unshare(syscalls.CLONE_NEWUSER)
    os.write(writer, b"go")
    os.close(writer)
    status = os.waitstatus_to_exitcode(os.waitpid(mapper, 0)[1])
    if status != 0:
        raise OSError(f"newuidmap or newgidmap refused the maps {uids} and {gids}")
    os.setresgid(0, 0, 0)
    os.setgroups([])
    os.setresuid(0, 0, 0)


def _write_maps(reader: int, process: int, uids: str, gids: str) -> int:
    """Wait until `process` is in its namespace, then map it from outside; the exit code."""
    if os.read(reader, 2) != b"go":
        return 1
    try:
        for program, ids in (("newuidmap", uids), ("newgidmap", gids)):
            arguments = [program, str(process), *ids.replace(":", ",").split(",")]
            if (code := os.spawnvp(os.P_WAIT, program, arguments)) != 0:
                if code == 127:
                    sys.stderr.write(f"{program} is missing, the package uidmap has it\n")
                return 1
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def main(arguments: list[str]) -> int:
    """Run a command as root of a new user namespace."""
    uids, gids, _separator, *command = arguments
    try:
        enter(uids, gids)
    except OSError as error:
        sys.stderr.write(f"no user namespace: {error}\n")
        return 125
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
    return 125
