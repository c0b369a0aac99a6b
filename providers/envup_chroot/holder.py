"""The process that keeps a running machine: makes its namespaces, becomes their PID 1 and stays until the machine
stops.

Started by `launch.py` with its configuration, marshalled, on standard input. Exits 0 when the machine can be entered
and PID 1 stays behind, or 1 with the reason on standard error. The machine's mounts exist in PID 1's mount namespace
and nowhere else, so the death of PID 1, however it comes, leaves none. The variables of the machine are this
process's own environment, where `enter.py` reads them; they are never written to a disk.

PID 1 is in none of the machine's control groups: a machine that has used up its memory loses programs, and never the
process that all of them hang on.
"""

# os rather than pathlib, which takes longer to load than all of this.

from __future__ import annotations

import marshal
import os
import sys

from envup.namespaces import records, syscalls, userns
from envup.namespaces.declared import MountError
from envup_chroot import mounts, reaper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def main(_arguments: list[str]) -> int:
    """Start a machine; see the module."""
    config: dict[str, Any] = marshal.loads(sys.stdin.buffer.read())
    os.umask(0o022)
    try:
        return _start(config)
    except OSError as error:
        sys.stderr.write(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}\n")
    except MountError as error:
        sys.stderr.write(f"{error}\n")
    return 1


def _start(config: dict[str, Any]) -> int:
    if config["maps"]:
        userns.enter(*config["maps"])
    syscalls.unshare(syscalls.CLONE_NEWPID)
    go_reader, go_writer = os.pipe()
    ready_reader, ready_writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(go_writer)
        os.close(ready_reader)
        os._exit(_hold(config, go_reader, ready_writer))
    os.close(ready_writer)
    records.write_run(config["machine"], child, config["record"], ready=False)
    os.write(go_writer, b"g")
    if os.read(ready_reader, 1) != b"r":
        _process, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            sys.stderr.write(f"its first process was killed by signal {os.WTERMSIG(status)}\n")
        return 1
    records.write_run(config["machine"], child, config["record"], ready=True)
    return 0


def _hold(config: dict[str, Any], go: int, ready: int) -> int:
    """The life of PID 1. It begins only when its record is on disk: a machine that nobody could find must not live."""
    try:
        if os.read(go, 1) != b"g":
            return 1
        os.setsid()
        syscalls.set_process_name("envup-machine")
        reaper.block_signals()
        mounts.make_root(config)
        if config["persona"]:
            syscalls.personality(config["persona"])
        _drop_descriptors(ready)
        os.write(ready, b"r")
        os.close(ready)
        return reaper.serve()
    except OSError as error:
        sys.stderr.write(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}\n")
    except MountError as error:
        sys.stderr.write(f"{error}\n")
    sys.stderr.flush()
    return 1


def _drop_descriptors(kept: int) -> None:
    """Leave nothing of the host open but `kept`: programs of the machine see what PID 1 has open."""
    os.closerange(3, kept)
    os.closerange(kept + 1, 1 << 20)
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
