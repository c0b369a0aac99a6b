"""Picks the verb, imports it alone, runs it; the one place where an exception becomes a message and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from envup.cli.table import VERBS
from envup.cli.table import module as module_of
from envup.errors import EnvupError, UsageError

_RUNS_PROGRAMS = ("exec", "shell")
"""Verbs whose standard output belongs to a program in a machine."""

_SIGPIPE = 128 + 13


def run(argv: Sequence[str], *, program: str) -> int:
    """Carry out one command line, the name of the program left out; the exit code. `program` is `env` or `envup`."""
    try:
        return _run(argv, program)
    except EnvupError as error:
        return _tell(error, argv)
    except KeyboardInterrupt:
        return _tell(EnvupError("interrupted"), argv, code=130)
    except BrokenPipeError:
        _drop_output()
        return _SIGPIPE
    except Exception as error:
        if isinstance(error, FileNotFoundError) and not _is_somewhere():
            return _tell(UsageError("the current directory was removed", hint="change to one that exists"), argv)
        from envup.cli.bugs import as_error

        return _tell(as_error(error, argv), argv)


def _is_somewhere() -> bool:
    try:
        os.stat(os.getcwd())  # noqa: PTH109, PTH116 - pathlib is not loaded here
    except FileNotFoundError:
        return False
    return True


def _run(argv: Sequence[str], program: str) -> int:
    verb = argv[0] if argv else "help"
    verb = {"-h": "help", "--help": "help", "--version": "version", "-V": "version"}.get(verb, verb)
    if verb not in VERBS:
        raise _unknown(verb, program)
    from importlib import import_module

    from envup.cli.options import parse

    module = import_module(module_of(verb))
    arguments = parse(verb, argv[1:], module.OPTIONS, module.ARGUMENTS)
    if arguments.help:
        from envup.cli.answer import write
        from envup.cli.help import explain

        write(explain(verb))
        return 0
    return int(module.run(arguments))


def _unknown(verb: str, program: str) -> UsageError:
    from difflib import get_close_matches

    near = get_close_matches(verb, VERBS, 1)
    guess = f", did you mean '{near[0]}'?" if near else ""
    what = "option" if verb.startswith("-") else "verb"
    return UsageError(f"unknown {what} '{verb}'{guess}", hint=f"`{program} help` lists the verbs")


def _tell(error: EnvupError, argv: Sequence[str], *, code: int | None = None) -> int:
    from envup.cli.failures import tell

    verb = argv[0] if argv else ""
    runs_program = verb in _RUNS_PROGRAMS
    own = argv[: argv.index("--")] if "--" in argv else argv
    if code is None:
        code = 125 if runs_program and error.code == 1 else error.code
        code = 1 if code == 125 and not runs_program else code
    try:
        tell(error, code, json="--json" in own, stream=sys.stderr if runs_program else sys.stdout)
    except OSError:
        _drop_output()
    return code


def _drop_output() -> None:
    """Let what is still held back for an output that cannot be written go nowhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
