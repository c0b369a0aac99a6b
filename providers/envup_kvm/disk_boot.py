"""The way into a machine that booted from its own disk: started by cloud-init at each boot (see `seed`), it makes ready
what the first program of other machines does, and leaves the agent behind when the machine has booted."""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH110, PTH112, PTH114, PTH123

from __future__ import annotations

import json
import os
import socket

from envup_kvm import agent, identity, mounting, server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_RESOLVER = "/etc/resolv.conf"
_CGROUPS = ("/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/systemd/cgroup.procs")
"""Of the root of control groups: version 2 alone, and beside version 1."""
_PATH = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


def main(_arguments: list[str]) -> int:
    """Returns at once, so that cloud-init goes on; the agent stays. Errors: `OSError`, `MountError`."""
    way_in = server.WayIn()
    with open(f"{server.KIT}/facts/machine.json", encoding="utf-8") as file:
        facts = json.load(file)
    _prepare(facts)
    if os.fork() == 0:
        os.setsid()
        _leave_service()
        kind = "systemd" if os.path.isdir("/run/systemd/system") else "own"
        agent.main({**facts, "kind": kind}, _booted(kind), way_in)
    return 0


def _prepare(facts: Mapping[str, Any]) -> None:
    """The network is cloud-init's, and a resolv.conf that is a link has somebody who writes it."""
    identity.take(facts, None if os.path.islink(_RESOLVER) else facts["resolver"])
    mounting.attach(facts["mounts"])


def _leave_service() -> None:
    """Be no part of the service that cloud-init runs in, nor hold its streams: it would end with it."""
    for path in _CGROUPS:
        if os.path.exists(path):
            with open(path, "w", encoding="ascii") as file:
                file.write(str(os.getpid()))
            break
    nothing = os.open(os.devnull, os.O_RDWR)
    console = os.open("/dev/console", os.O_WRONLY | os.O_NOCTTY)
    for descriptor, source in enumerate((nothing, console, console)):
        os.dup2(source, descriptor)


def _booted(kind: str) -> socket.socket:
    """Where it is said that all that starts has started or failed; either lets in who is to look at it."""
    line = ("systemctl", "is-system-running", "--wait") if kind == "systemd" else ("cloud-init", "status", "--wait")
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    if os.fork() == 0:
        quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
        os.waitpid(os.posix_spawnp(line[0], line, _PATH, file_actions=quiet), 0)
        its.send(b"READY=1")
        os._exit(0)
    its.close()
    return ours
