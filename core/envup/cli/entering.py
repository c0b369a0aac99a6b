"""Becoming a program in a machine: the process of envup turns into the provider's command, so that streams, terminal,
signals and exit code are the program's own."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from envup.cli.opening import project_of
from envup.cli.options import Arguments
from envup.errors import TransportError, UsageError
from envup.provider import Command
from envup.shim import give_back_signals, original_environment


def enter(arguments: Arguments, machine: str | None, argv: tuple[str, ...]) -> int:
    """Run `argv`, or the login shell where it is empty. Does not return when the machine could be entered.

    Errors: `UsageError` for an unknown machine; `TransportError` when it does not run or the way in is missing.
    """
    located = project_of(arguments).locate(machine)
    terminal = sys.stdin is not None and sys.stdin.isatty()
    command = Command(
        argv,
        user=arguments.user or located.user,
        workdir=arguments.workdir,
        environment=_environment(arguments.env, terminal=terminal),
        terminal=terminal,
    )
    host = located.provider.command(located.instance, command)
    sys.stdout.flush()
    give_back_signals()
    try:
        os.execvpe(host.argv[0], host.argv, original_environment() | dict(host.environment))
    except OSError as error:
        raise TransportError(
            f"cannot enter machine '{located.name}': {host.argv[0]}: {error.strerror}", hint="see `env doctor`"
        ) from error


def _environment(given: list[str], *, terminal: bool) -> Mapping[str, str]:
    found = {"TERM": os.environ["TERM"]} if terminal and os.environ.get("TERM") else {}
    for entry in given:
        name, equals, value = entry.partition("=")
        if not name:
            raise UsageError(f"--env {entry}: the name is missing", hint="give NAME=VALUE, or NAME to pass it on")
        if equals:
            found[name] = value
        elif name in os.environ:
            found[name] = os.environ[name]
        else:
            raise UsageError(f"--env {name}: not in this environment", hint="give NAME=VALUE")
    return found
