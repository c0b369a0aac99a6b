"""The way into machines whose processes live in namespaces of this host, for every provider that makes such machines.

A provider says with a `Way` how to reach one; `enter`, `send` and `fetch` are then its `command`, `send` and `fetch`,
and `dial` is that of the ability `Dial`.
Beside them these modules are for providers, and keep their meaning as the contracts do:

- `provider`: all of a provider but what sets it apart; `directories`, `records`: its machines as directories, and the
  record of a running one; `trees`, `trial`, `disk`, `disk_images`: unpacked images, whether they can be layers, and
  what lies above them; `layers`: what steps left, kept for other machines
- `programs`: programs in a bare interpreter, and tools that run as root of a user namespace; for such programs,
  `syscalls`, `signals` and `variables`: what the standard library lacks there
- `cgroups`, `limits`, `runtimes`: control groups, limits and their change; `ending`, `everyone`: the end of a machine's
  processes, from outside and from inside
- `subids`, `userns`, `capabilities`, `confinement`: ids and user namespaces, what programs may do
- `guestfiles`, `declared`: files that are written inside, mounts that no link in a machine can lead astray
- `exporting`: all files of a machine as a tar stream, from outside
- `listening`: ports of the host, bound or found to be taken
- `accounts`, `executing`, `terminal`, `outcomes`, `packing`, `unpacking`, `transport`: for an agent in a machine that
  is no namespace: becoming a program, terminals, ends, tar streams
- `needs`, `checks`: what a doctor tells of this host, and what is refused of a machine

All others are how these are made, and no provider's to import.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH116

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO

from envup.events import Emit
from envup.namespaces import programs
from envup.namespaces.records import lives, start_time
from envup.namespaces.variables import packed
from envup.provider import Command, HostCommand
from envup.value import Value, replace

if TYPE_CHECKING:
    import socket

__all__ = ["KINDS", "LOOPBACK", "Way", "dial", "enter", "fetch", "lives", "namespaces_of", "send", "start_time"]

KINDS = ("user", "mnt", "uts", "ipc", "pid", "net", "cgroup")
"""Kinds of namespaces that can be joined."""

LOOPBACK = ("127.0.0.1", "::1")
"""Where a machine's own programs reach its services."""


class Way(Value):
    """How to reach a machine. `pid` is a process of it, usually its PID 1, as the host numbers it, and `start` that
    process's start time (`start_time`), which tells it from a later one of the same number.

    `namespaces` are those of `pid` to join, after namespaces(7): any of `user`, `mnt`, `uts`, `ipc`, `pid`, `net`,
    `cgroup`; `user` only where it is another than the caller's (`namespaces_of` tells). `capabilities` is the mask that
    programs may keep, None as much as `pid` has in its bounding set. `cgroups` are directories of control groups that
    programs are put in, `persona` is an execution domain after personality(2). `holder` is a process of the host,
    started at `holder_start`, whose environment has the machine's variables as `variables.packed` makes them; None
    where there are none. `label` is what programs are confined by (`confinement.label_of`), `no_new_privileges` after
    prctl(2)."""

    pid: int
    start: str
    namespaces: tuple[str, ...] = ("mnt", "uts", "ipc", "pid")
    capabilities: int | None = None
    cgroups: tuple[str, ...] = ()
    persona: int = 0
    holder: int | None = None
    holder_start: str = ""
    label: str = ""
    no_new_privileges: bool = False

    def arguments(self) -> list[str]:
        """As the programs of this package take it; see `joining.Way`."""
        return [
            f"pid={self.pid}",
            f"start={self.start}",
            f"namespaces={','.join(self.namespaces)}",
            f"capabilities={'' if self.capabilities is None else self.capabilities}",
            f"persona={self.persona}",
            f"holder={'' if self.holder is None else self.holder}",
            f"holder_start={self.holder_start}",
            f"label={self.label}",
            f"no_new_privileges={int(self.no_new_privileges)}",
            *(f"cgroup={group}" for group in self.cgroups),
        ]


def enter(way: Way, command: Command) -> HostCommand:
    """The host command that runs a program in the machine, as `Provider.command` must give it."""
    how = (f"user={command.user}", f"workdir={command.workdir or ''}", f"terminal={int(command.terminal)}")
    line = programs.program("enter", *way.arguments(), *how, "--", *command.argv)
    return HostCommand(line, packed(command.environment))


def send(way: Way, directory: str, archive: BinaryIO, *, machine: str, emit: Emit) -> None:
    """`Provider.send`. Errors: `EnvupError`; what could not be kept is told as a warning."""
    _transfer(way, f"cannot send files to machine '{machine}'", "unpack", directory, machine, emit, stdin=archive)


def fetch(way: Way, path: str, archive: BinaryIO, *, machine: str, emit: Emit) -> None:
    """`Provider.fetch`. Errors: `EnvupError`."""
    _transfer(way, f"cannot fetch files from machine '{machine}'", "pack", path, machine, emit, stdout=archive)


def dial(way: Way, port: int, *, machine: str, timeout: float, addresses: Sequence[str] = LOOPBACK) -> socket.socket:
    """`Dial.dial`: a connection to the first of the machine's addresses that takes it. The host's network is the
    machine's where `way` names no other. Errors: `OSError` of the first address, `TransportError`."""
    from envup.namespaces import dialling

    if "net" not in way.namespaces:
        return dialling.connect_here(port, addresses, timeout=timeout)
    joined = tuple(kind for kind in way.namespaces if kind in ("user", "net"))
    arguments = replace(way, namespaces=joined).arguments()
    return dialling.connect(arguments, port, addresses, machine=machine, timeout=timeout)


def namespaces_of(pid: int) -> tuple[str, ...]:
    """The kinds of namespaces in which a process is and the caller is not, as `Way.namespaces` takes them. Errors:
    `OSError` when the process is gone or the caller may not look."""
    return tuple(kind for kind in KINDS if _namespace(str(pid), kind) != _namespace("self", kind))


def _namespace(process: str, kind: str) -> tuple[int, int]:
    status = os.stat(f"/proc/{process}/ns/{kind}")
    return status.st_dev, status.st_ino


def _transfer(way: Way, failure: str, verb: str, path: str, machine: str, emit: Emit, **streams: BinaryIO) -> None:
    from envup.namespaces import transport

    line = programs.program("transfer", *way.arguments(), "--", verb, path)
    transport.run(line, failure, emit, machine, **streams)
