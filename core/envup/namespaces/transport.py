"""Runs a helper whose standard input or output is the caller's tar stream itself."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import BinaryIO

from envup.errors import EnvupError
from envup.events import Emit, Event


def run(
    argv: Sequence[str],
    failure: str,
    emit: Emit,
    machine: str,
    *,
    stdin: BinaryIO | None = None,
    stdout: BinaryIO | None = None,
) -> None:
    """Run to the end. What the helper says while it succeeds becomes a warning. Errors: `EnvupError`."""
    if stdout is not None:
        stdout.flush()
    try:
        with subprocess.Popen(
            argv,
            stdin=stdin if stdin is not None else subprocess.DEVNULL,
            stdout=stdout if stdout is not None else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd="/",
        ) as process:
            said = process.communicate()[1].decode(errors="replace").strip()
    except OSError as error:
        raise EnvupError(failure, details=f"{argv[0]}: {error.strerror}") from error
    if process.returncode:
        raise EnvupError(failure, details=said or f"the helper ended with {process.returncode}")
    if said:
        emit(Event("warning", machine=machine, text=said))
