"""What goes wrong between envup and an engine. Standard library only, as the small programs use it."""

from __future__ import annotations


class EngineError(Exception):
    """The engine refused, or could not be reached. `status` is the HTTP status, 0 where there was no answer; `message`
    is one sentence, `hint` the remedy where one is known."""

    def __init__(self, status: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.hint = status, message, hint


LOST = "see whether the engine runs, and run the command again"
"""What to do where a connection ended before its time."""
