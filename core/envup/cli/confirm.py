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
    if arguments.json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("this needs your agreement; nothing was changed", details="\n".join(questions), hint=hint)
    sys.stdout.flush()
    sys.stderr.write("".join(f"{clean(question)}\n" for question in questions) + "Go on? [y/N] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        sys.stderr.write("\n")
    if answer.strip().lower() not in ("y", "yes"):
        raise EnvupError("not agreed; nothing was changed")
