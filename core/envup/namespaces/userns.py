"""Enters a new user namespace as its root.

Used by the holder of a rootless machine, and as a program of its own (`userns UIDS GIDS -- COMMAND…`) to
run a host tool such as tar there. A map is written `inside:outside:count,…`, see `subids`.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH123

from __future__ import annotations

import errno
import os
import sys

from envup.namespaces import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def enter(uids: str, gids: str) -> None:
    """Leave for a new user namespace with these maps, as its root. Whoever is not root needs newuidmap and newgidmap
    (package uidmap). Errors: `OSError`."""
    parent = os.getpid()
    reader, writer = os.pipe()
    mapper = os.fork()
    if mapper == 0:
        os.close(writer)
        os._exit(_write_maps(reader, parent, uids, gids))
    os.close(reader)
    try:
        syscalls.unshare(syscalls.CLONE_NEWUSER)
        os.write(writer, b"go")
    finally:
        os.close(writer)
        status = os.waitstatus_to_exitcode(os.waitpid(mapper, 0)[1])
    if status != 0:
        raise OSError(f"the maps {uids} and {gids} were refused")
    os.setresgid(0, 0, 0)
    os.setgroups([])
    os.setresuid(0, 0, 0)


def held(uids: str, gids: str) -> int:
    """The descriptor of a new user namespace with these maps and nobody in it. For root. Errors: `OSError`."""
    ready_reader, ready_writer = os.pipe()
    go_reader, go_writer = os.pipe()
    child = os.fork()
    if child == 0:
        _hold(go_reader, go_writer, ready_writer)
    for descriptor in (ready_writer, go_reader):
        os.close(descriptor)
    try:
        _await_ready(ready_reader)
        _write_directly(child, uids, gids)
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY)
    finally:
        os.close(ready_reader)
        os.close(go_writer)
        os.waitpid(child, 0)


def _hold(go_reader: int, go_writer: int, ready: int) -> NoReturn:
    """What the child of `held` does: be in a new namespace until its parent has a hold of it."""
    try:
        os.close(go_writer)
        syscalls.unshare(syscalls.CLONE_NEWUSER)
        os.write(ready, b"\0")
        os.read(go_reader, 1)
    except OSError as error:
        os.write(ready, bytes([error.errno or errno.EIO]))
    finally:
        os._exit(0)


def _await_ready(ready: int) -> None:
    """Errors: the `OSError` that kept the child from its namespace."""
    said = os.read(ready, 1)
    if said != b"\0":
        number = said[0] if said else errno.ECHILD
        raise OSError(number, os.strerror(number), "user namespace")


def _write_maps(reader: int, process: int, uids: str, gids: str) -> int:
    """Wait until `process` is in its namespace, then map it from outside; the exit code."""
    if os.read(reader, 2) != b"go":
        return 1
    try:
        if os.geteuid() == 0:
            return _write_directly(process, uids, gids)
        return _ask_for(process, uids, gids)
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _write_directly(process: int, uids: str, gids: str) -> int:
    for file, ids in (("uid_map", uids), ("gid_map", gids)):
        with open(f"/proc/{process}/{file}", "wb", buffering=0) as stream:
            stream.write(ids.replace(":", " ").replace(",", "\n").encode())  # the kernel takes one write
    return 0


def _ask_for(process: int, uids: str, gids: str) -> int:
    for program, ids in (("newuidmap", uids), ("newgidmap", gids)):
        arguments = [program, str(process), *ids.replace(":", ",").split(",")]
        if (code := os.spawnvp(os.P_WAIT, program, arguments)) != 0:
            if code == 127:
                sys.stderr.write(f"{program} is missing, the package uidmap has it\n")
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
