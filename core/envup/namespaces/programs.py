"""Command lines of small programs in a bare interpreter, and running a helper to its end."""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH100, PTH120

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from envup.errors import EnvupError
from envup.namespaces import subids

_HERE = os.path.dirname(os.path.abspath(__file__))
_LAST_ID = 2**32 - 2
"""2**32 - 1 means none."""


def program(module: str, *arguments: str, directory: str = _HERE) -> tuple[str, ...]:
    """The line that runs `main(arguments)` of a module in a bare interpreter, which starts in half the time of a full
    one. `directory` is that of the module's package, of which only the standard library and this package can be
    imported beside it."""
    return (sys.executable, "-I", "-S", "-X", "utf8", f"{_HERE}/runner.py", directory, module, *arguments)


def as_owner() -> tuple[str, ...]:
    """What to put before a tool that handles a machine's files, so that it may touch those of every user of the
    machine."""
    maps = subids.maps()
    return as_root_of(*maps) if maps else ()


def as_root_of(uids: str, gids: str) -> tuple[str, ...]:
    """What to put before a tool that is to run as root of a new user namespace with these maps (`subids`). The tool
    reaches files through directories of the caller, whose ids are mapped too."""
    return program("userns", _with(uids, os.geteuid()), _with(gids, os.getegid()), "--")


def _with(ids: str, own: int) -> str:
    """A map with the last number that an id can have standing for `own`, unless the map has that already."""
    for part in ids.split(","):
        _inside, first, count = map(int, part.split(":"))
        if first <= own < first + count:
            return ids
    return f"{ids},{_LAST_ID}:{own}:1"


def remove(*paths: Path) -> None:
    """Remove trees, whoever of the machine's users owns what is in them. Missing ones are no error."""
    if present := [str(path) for path in paths if os.path.lexists(path)]:
        run((*as_owner(), "rm", "-rf", "--one-file-system", "--", *present), f"cannot remove {present[0]}")


def run(
    argv: Sequence[str],
    failure: str,
    *,
    data: bytes = b"",
    environment: Mapping[str, str] | None = None,
    descriptors: Sequence[int] = (),
    fine: Sequence[int] = (0,),
) -> None:
    """Run a helper with `data` on its standard input. Errors: `EnvupError` for an exit code other than `fine`, its
    details what the helper said."""
    import subprocess

    try:
        done = subprocess.run(
            argv,
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            check=False,
            env=environment,
            pass_fds=descriptors,
            cwd="/",
        )
    except OSError as error:
        raise EnvupError(failure, details=f"{argv[0]}: {error.strerror}") from error
    if done.returncode not in fine:
        said = done.stdout.decode(errors="replace").strip()
        raise EnvupError(failure, details=said or f"{argv[0]} ended with {done.returncode}")
