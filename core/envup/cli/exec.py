"""`env exec`: run a program in a machine."""

from __future__ import annotations

from envup.cli.entering import enter
from envup.cli.options import Argument, Arguments, Option
from envup.errors import UsageError

OPTIONS = (
    Option(
        "--user", "run as NAME or UID, with :GROUP if wanted; else the machine's default user", value="USER", short="-u"
    ),
    Option("--workdir", "run in this directory; else the user's home", value="PATH", short="-w"),
    Option("--env", "set a variable, or pass one on by its name", value="NAME=VALUE", short="-e", many=True),
)
ARGUMENTS = (
    Argument("CALL", "MACHINE [--] COMMAND: the machine, and the program with its arguments", count="...", kind="exec"),
)
DETAILS = """
Everything after the machine is the program's, verbatim. Where there is one machine it may be left out, with `--`
first: env exec -- ls -l. The exit code is the program's; 125 says that envup could not reach the machine, 126 that the
program cannot be executed, 127 that it was not found."""


def run(arguments: Arguments) -> int:
    """Become the program."""
    machine, argv = split(arguments.call)
    return enter(arguments, machine, argv)


def split(words: list[str]) -> tuple[str | None, tuple[str, ...]]:
    """The machine (None where it is left out) and the program's argv. Errors: `UsageError` when there is no program."""
    machine = words[0] if words and words[0] != "--" else None
    rest = words if machine is None else words[1:]
    argv = tuple(rest[1:] if rest and rest[0] == "--" else rest)
    if not argv:
        raise UsageError(
            "exec: COMMAND is missing", hint="`env exec MACHINE COMMAND…`; `env shell MACHINE` opens a shell"
        )
    return machine, argv
