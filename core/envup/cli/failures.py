"""An error as the user sees it: what happened, the details, what to do; or as one JSON object."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TextIO

from envup.errors import EnvupError


def tell(error: EnvupError, code: int, *, json: bool, stream: TextIO) -> None:
    """Write the error: as JSON to `stream`, otherwise in three parts to standard error, behind what is on its way to
    standard output, if that still gets there."""
    with suppress(OSError):
        sys.stdout.flush()
    if json:
        from json import dumps

        document = {
            "event": "error",
            "message": error.brief,
            "details": error.details,
            "hint": error.hint,
            "code": code,
        }
        stream.write(dumps(document) + "\n")
        stream.flush()
        return
    from envup.report.text import clean_lines

    lines = [f"envup: {clean_lines(error.brief)[0]}", *clean_lines(error.brief)[1:]]
    if error.details:
        lines += [f"  {line}" for line in clean_lines(error.details.rstrip("\n"))]
    if error.hint:
        lines.append(f"  to do: {' '.join(clean_lines(error.hint))}")
    sys.stderr.write("\n".join(lines) + "\n")
    sys.stderr.flush()
