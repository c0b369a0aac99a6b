"""Running a tool of the host for an image: its output as events, its last lines in the error."""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Mapping, Sequence

from envup import children
from envup.errors import EnvupError, InterruptedByUser
from envup.events import Emit, Event, silent

_PROXIES = frozenset(("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"))
TAIL = 20
"""Lines of output that an error shows."""


class ToolError(EnvupError):
    """A tool ended with `exit_code`; `details` holds its last lines."""

    def __init__(self, brief: str, exit_code: int, *, details: str = "", hint: str = "") -> None:
        super().__init__(brief, details=details, hint=hint)
        self.exit_code = exit_code


def run(
    argv: Sequence[str], *, emit: Emit = silent, environment: Mapping[str, str] | None = None, clean: bool = False
) -> None:
    """Run to the end; what it prints becomes events. It ends when envup is interrupted or dies. `environment` is added
    to the caller's variables; where `clean`, of these it has the proxies alone.

    Errors: `ToolError` for an exit code other than 0, `InterruptedByUser`, `EnvupError` when it cannot be started.
    """
    import subprocess

    tail: deque[str] = deque(maxlen=TAIL)
    inherited = {name: value for name, value in os.environ.items() if not clean or name.lower() in _PROXIES}
    variables = {**inherited, "LC_ALL": "C.UTF-8", **(environment or {})}
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    try:
        with children.child(mortal(argv), env=variables, **options) as process:
            assert process.stdout is not None
            with process.stdout as lines:
                for line in lines:
                    text = line.decode(errors="replace")
                    tail.append(text.rstrip())
                    emit(Event("output", text=text))
    except OSError as error:
        raise EnvupError(f"cannot run {argv[0]}: {error.strerror}") from error
    if children.cancelled():
        raise InterruptedByUser(f"{argv[0]} was interrupted")
    if process.returncode:
        raise failure(argv[0], process.returncode, tail)


def failure(tool: str, code: int, tail: Sequence[str]) -> ToolError:
    """The error for a tool that ended with `code` after printing `tail`."""
    how = f"failed with exit code {code}" if code > 0 else f"was killed by signal {-code}"
    hint = "free some space on that disk" if any("No space left on device" in line for line in tail) else ""
    return ToolError(f"{tool} {how}", code, details="\n".join(tail), hint=hint)


def mortal(argv: Sequence[str]) -> tuple[str, ...]:
    """`argv` so that it ends when envup dies without a chance to end it; as it is where setpriv(1) is missing."""
    setpriv = shutil.which("setpriv")
    return (setpriv, "--pdeathsig", "TERM", "--", *argv) if setpriv else tuple(argv)


def require(tool: str, package: str, purpose: str) -> str:
    """The path of `tool`. Errors: `EnvupError` naming the package that has it."""
    path = shutil.which(tool, path=search_path())
    if path is None:
        raise EnvupError(f"{purpose} needs the program {tool}", hint=f"run: apt-get install {package}")
    return path


def search_path() -> str:
    """The caller's PATH and the directories of root's tools, which an ordinary account's PATH lacks."""
    return os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))
