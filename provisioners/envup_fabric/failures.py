"""What went wrong in a task, for the report: the command, its exit code, and the fabfile's part of the traceback."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fabric.exceptions import GroupException
from invoke.exceptions import CommandTimedOut, Exit, Failure

from envup.errors import EnvupError

_LAST = 20
"""Lines of hidden output that are shown."""


def of_task(task: str, error: BaseException, root: Path) -> dict[str, Any]:
    """A failure for envup. Files below `root` are the fabfile's."""
    if isinstance(error, EnvupError):
        return {"brief": f"task '{task}': {error.brief}", "details": error.details, "hint": error.hint}
    told: dict[str, Any] = {"brief": f"task '{task}': {_brief(error)}", "details": "\n".join(_details(error, root))}
    if isinstance(error, Failure):
        told["command"], told["exit_code"] = error.result.command, error.result.exited
    elif isinstance(error, SystemExit):
        told["exit_code"] = _code(error)
    return told


def of_loading(file: Path, error: BaseException, root: Path) -> dict[str, Any]:
    """A failure for envup: the fabfile could not be imported."""
    if isinstance(error, EnvupError):
        return {"brief": error.brief, "details": error.details, "hint": error.hint}
    told = {"brief": f"{file.name} cannot be loaded: {_brief(error)}", "details": "\n".join(_details(error, root))}
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        told["hint"] = f"install what has '{package}' where envup runs: {sys.executable} -m pip install …"
    return told


def is_success(error: BaseException) -> bool:
    """Whether the task ended itself without a complaint."""
    return isinstance(error, SystemExit) and _code(error) == 0


def _code(error: SystemExit) -> int:
    code = error.code
    return code if isinstance(code, int) else 0 if code is None else 1


def _brief(error: BaseException) -> str:
    if isinstance(error, Failure):
        return _brief_of_command(error)
    if isinstance(error, GroupException):
        return f"failed on {', '.join(connection.host for connection in error.result.failed)}"
    if isinstance(error, Exit):
        return error.message or f"exit code {error.code}"
    if isinstance(error, SystemExit):
        return f"exit code {_code(error)}" if isinstance(error.code, int) else str(error.code)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _brief_of_command(error: Failure) -> str:
    connection = getattr(error.result, "connection", None)
    where = f" on {connection.host}" if connection is not None else ""
    if isinstance(error, CommandTimedOut):
        return f"the command did not end within {error.timeout:g} s{where}"
    if error.reason is not None:
        return f"the command was given up{where}: {error.reason}"
    return f"the command ended with exit code {error.result.exited}{where}"


def _details(error: BaseException, root: Path) -> Iterator[str]:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_own(frame.filename, root)]
    yield from "".join(traceback.format_list(frames)).splitlines()
    if isinstance(error, GroupException):
        for connection, inner in error.result.failed.items():
            command = f"{inner.result.command}: " if isinstance(inner, Failure) else ""
            yield f"{connection.host}: {command}{_brief(inner)}"
            yield from _hidden(inner)
    elif isinstance(error, SyntaxError):
        yield from "".join(traceback.format_exception_only(error)).splitlines()
    yield from _hidden(error)


def _hidden(error: BaseException) -> Iterator[str]:
    """The last of the output that nobody has seen."""
    if isinstance(error, Failure):
        for name in error.result.hide:
            yield from (f"{name}: {line}" for line in getattr(error.result, name).splitlines()[-_LAST:])


def _is_own(file: str, root: Path) -> bool:
    path = Path(file)
    return path.is_relative_to(root) and "site-packages" not in path.parts and not path.is_relative_to(sys.prefix)
