"""What the fabfile imports."""

from __future__ import annotations

from io import StringIO


def of(text: str) -> StringIO:
    """A file with a text."""
    return StringIO(text)
