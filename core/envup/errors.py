"""Errors as values: what happened, the details, what to do.

Every failure that a user can cause or meet is an `EnvupError`; anything else that reaches the command line is a bug and
is reported as one. `code` is the exit code of docs/CLI: 1 failed, 2 wrong usage or Envfile, 4 locked, 125 no way in,
130 interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence


class EnvupError(Exception):
    """An operation failed. `brief` is one sentence, `details` more lines, `hint` the remedy."""

    code = 1

    def __init__(self, brief: str, *, details: str = "", hint: str = "") -> None:
        super().__init__(brief)
        self.brief = brief
        self.details = details
        self.hint = hint

    def __str__(self) -> str:
        return self.brief

    def in_a_line(self) -> str:
        """What happened, with the first line of the details."""
        first = self.details.partition("\n")[0]
        return f"{self.brief}: {first}" if first else self.brief


class UsageError(EnvupError):
    """The call cannot be carried out as it was written; nothing was changed."""

    code = 2


class RefusedError(UsageError):
    """A provider cannot honour what a machine asks for; nothing was changed."""


class Problem:
    """One thing that is wrong with an Envfile. `line` and `column` count from 1; 0 where there is no position."""

    __slots__ = ("column", "file", "line", "message", "path")

    def __init__(self, file: str, line: int, column: int, path: str, message: str) -> None:
        self.file, self.line, self.column, self.path, self.message = file, line, column, path, message

    def __str__(self) -> str:
        place = ":".join([self.file, *(str(number) for number in (self.line, self.column) if number)])
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


class EnvfileError(UsageError):
    """An Envfile does not hold; `problems` lists all that is wrong with it, in the order of the file."""

    def __init__(self, problems: Sequence[Problem], *, hint: str = "") -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.line, problem.column)))
        count = len(self.problems)
        brief = str(self.problems[0]) if count == 1 else f"{self.problems[0].file}: {count} problems"
        super().__init__(brief, details="" if count == 1 else "\n".join(map(str, self.problems)), hint=hint)


class LockedError(EnvupError):
    """Another process holds the environment's lock."""

    code = 4


class TransportError(EnvupError):
    """envup could not reach into the machine; says nothing about the program that was to run there."""

    code = 125


class InterruptedByUser(EnvupError):
    """A signal asked envup to stop, and it stopped in order."""

    code = 130
