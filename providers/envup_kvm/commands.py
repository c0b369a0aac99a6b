"""The host commands that reach into a machine: lines for the small programs of this package."""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH100, PTH120

from __future__ import annotations

import os
import sys

from envup.namespaces import programs
from envup.namespaces.variables import packed
from envup.provider import Command, HostCommand

_HERE = os.path.dirname(os.path.abspath(__file__))


def enter(place: str, command: Command) -> HostCommand:
    """The host command that runs a program in a running machine, as `Provider.command` must give it."""
    how = (f"user={command.user}", f"workdir={command.workdir or ''}", f"terminal={int(command.terminal)}")
    line = programs.program("enter", f"place={place}", "verb=run", *how, "--", *command.argv, directory=_HERE)
    return HostCommand(line, packed(command.environment))


def transfer(place: str, verb: str, path: str) -> tuple[str, ...]:
    """The line that takes (`unpack`) or gives (`pack`) a tar stream."""
    return programs.program(
        "enter", f"place={place}", f"verb={verb}", f"path={path}", "terminal=0", "--", directory=_HERE
    )


def mounts(place: str, verb: str, targets: str) -> tuple[str, ...]:
    """The line that mounts (`attach`) or unmounts (`detach`) what the host shares; see `mounting.serve`."""
    return programs.program(
        "enter", f"place={place}", f"verb={verb}", f"mounts={targets}", "terminal=0", "--", directory=_HERE
    )


def proxy(port: str) -> tuple[str, ...]:
    """The line that connects OpenSSH's client to a socket."""
    return programs.program("proxy", port, directory=_HERE)


def remote(module: str, *arguments: str) -> tuple[str, ...]:
    """The line of a program of this package that speaks with libvirt."""
    return (sys.executable, "-P", "-m", f"envup_kvm.{module}", *arguments)
