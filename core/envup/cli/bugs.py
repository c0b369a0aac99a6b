"""An exception that nobody foresaw: its traceback goes to a file, and the user is told that it is a bug."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from envup import __version__
from envup.errors import EnvupError
from envup.home import Home


def as_error(error: Exception, argv: Sequence[str]) -> EnvupError:
    """The error to show for an unforeseen exception, its traceback written to a log."""
    text = (
        f"envup {__version__}, Python {sys.version}, {platform.platform()}\n"
        f"verb: {argv[0] if argv else ''}\n\n" + "".join(traceback.format_exception(error))
    )
    return EnvupError(
        f"this is a bug in envup: {type(error).__name__}: {error}",
        details=f"what envup was doing is written in {_write(text)}",
        hint="please report it to the project, with that file",
    )


def _write(text: str) -> Path:
    name = f"bug-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    try:
        folder = Home.locate().make().data / "logs"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / name
        path.write_text(text, errors="backslashreplace")
    except OSError:
        path = Path(tempfile.mkdtemp(prefix="envup-")) / name
        path.write_text(text, errors="backslashreplace")
    return path
