"""How a verb that answers prints: one JSON document, or lines for a reader."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from envup.cli.options import Arguments
from envup.errors import EnvupError
from envup.report.style import Style


def write(text: str) -> None:
    """Put text on standard output at once. Errors: `EnvupError` when it cannot be written (a full disk);
    `BrokenPipeError` when nobody reads it any more."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise EnvupError(f"cannot write to standard output: {error.strerror}") from error


def print_json(document: Any) -> None:
    """Print one document on standard output, indented for a person who looks at it."""
    import json

    terminal = sys.stdout.isatty()
    write(json.dumps(document, indent=2 if terminal else None, default=str) + "\n")


def print_lines(lines: Iterable[str]) -> None:
    """Print lines on standard output."""
    write("".join(f"{line}\n" for line in lines))


def style_of(arguments: Arguments) -> Style:
    """Colours and signs for standard output."""
    return Style.of(sys.stdout, color=wants_color(arguments) and sys.stdout.isatty())


def wants_color(arguments: Arguments) -> bool:
    """Whether colours may be used where the output is a terminal (see no-color.org for NO_COLOR)."""
    return not arguments.no_color and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
