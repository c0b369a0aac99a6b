"""Asking the user: on a terminal a question, elsewhere an error that says which option agrees."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from envup.cli.options import Arguments
from envup.errors import EnvupError, UsageError
from envup.report.text import clean


def agree(questions: Sequence[str], arguments: Arguments, *, hint: str = "`--yes` agrees to it") -> None:
    """Return when the user agrees to all `questions`, each a sentence about what would be lost.

    Errors: `UsageError` where nobody can be asked, `EnvupError` when the answer is no.
    """
    if not questions or arguments.yes:
        return
    if not can_ask(arguments):
        raise UsageError("this needs your agreement; nothing was changed", details="\n".join(questions), hint=hint)
    ask(questions, "Go on?")


def can_ask(arguments: Arguments) -> bool:
    """Whether somebody is there to answer."""
    return not arguments.json and sys.stdin.isatty() and sys.stderr.isatty()


def ask(lines: Sequence[str], question: str) -> None:
    """Show the lines, and return when the answer to the question is yes. Errors: `EnvupError`, any other answer."""
    sys.stdout.flush()
    sys.stderr.write("".join(f"{clean(line)}\n" for line in lines) + f"{question} [y/N] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        sys.stderr.write("\n")
    if answer.strip().lower() not in ("y", "yes"):
        raise EnvupError("not agreed; nothing was changed")
