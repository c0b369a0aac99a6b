"""Building images as an ordinary account: its subordinate ids, and what is left that belongs to them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from envup.errors import EnvupError
from envup.images import tools

_FILES = {kind: Path(f"/etc/sub{kind}") for kind in ("uid", "gid")}
_COUNT = 65536


def require(what: str) -> None:
    """Errors: `EnvupError` with the remedy where this account has no subordinate ids, or nothing to map them with."""
    import getpass

    tools.require("newuidmap", "uidmap", f"{what} without root")
    user = getpass.getuser()
    for path in _FILES.values():
        if not any(entry[0] in (user, str(os.getuid())) for entry in _entries(path)):
            first = _first_free()
            span = f"{first}-{first + _COUNT - 1}"
            raise EnvupError(
                f"{what} without root needs subordinate ids, and {path} has none for {user}",
                hint=f"run as root: usermod --add-subuids {span} --add-subgids {span} {user}",
            )


def _first_free() -> int:
    """Above all that somebody has: an id of two users would give the files of one to the other."""
    entries = [entry for path in _FILES.values() for entry in _entries(path)]
    ends = [int(entry[1]) + int(entry[2]) for entry in entries if len(entry) == 3 and (entry[1] + entry[2]).isdigit()]
    return max([100_000, *ends])


def _entries(path: Path) -> list[list[str]]:
    return [line.split(":") for line in path.read_text("utf-8").splitlines()] if path.exists() else []


@contextlib.contextmanager
def scratch(mmdebstrap: str) -> Iterator[Path]:
    """A temporary directory for `mmdebstrap`, outside the home, which subordinate ids may not enter. What they own in
    it when mmdebstrap was killed is removed as them."""
    import subprocess
    import tempfile

    with tempfile.TemporaryDirectory(prefix="envup-") as name:
        directory = Path(name)
        directory.chmod(0o711)
        try:
            yield directory
        finally:
            if remains := [str(path) for path in directory.iterdir()]:
                removal = [mmdebstrap, "--unshare-helper", "rm", "-rf", "--one-file-system", "--", *remains]
                subprocess.run(removal, cwd="/", capture_output=True, start_new_session=True, check=False)
