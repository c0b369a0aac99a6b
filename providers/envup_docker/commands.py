"""The host commands that reach into a container: lines for the small programs of this package."""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH100, PTH120

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from envup.namespaces import programs
from envup.namespaces.variables import packed
from envup.provider import Command, HostCommand

if TYPE_CHECKING:
    from envup_docker.endpoint import Endpoint

_HERE = os.path.dirname(os.path.abspath(__file__))


def enter(endpoint: Endpoint, container: str, command: Command) -> HostCommand:
    """The host command that runs a program in a running container, as `Provider.command` must give it."""
    how = (f"user={command.user}", f"workdir={command.workdir or ''}", f"terminal={int(command.terminal)}")
    arguments = (*endpoint.arguments(), f"container={container}", *how, "--", *command.argv)
    return HostCommand(programs.program("enter", *arguments, directory=_HERE), packed(command.environment))


def console(endpoint: Endpoint, container: str, *, follow: bool) -> HostCommand:
    """The host command that prints the container's log, as `Console.console` must give it."""
    arguments = (*endpoint.arguments(), f"container={container}", f"follow={int(follow)}")
    return HostCommand(programs.program("console", *arguments, directory=_HERE))
