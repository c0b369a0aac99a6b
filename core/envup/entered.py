"""Whether somebody has been in a machine since it was made."""

from __future__ import annotations

import contextlib
from pathlib import Path


class Entered:
    """An empty file, `entered/<environment>.<machine>` below the runtime directory, there once `exec`, `shell`,
    `copy` or SSH has found the machine."""

    def __init__(self, runtime: Path, environment: str) -> None:
        self._runtime, self._environment = runtime, environment

    def note(self, machine: str) -> None:
        """Somebody is about to be in it. Where there is no room for that there is none for a layer of it, either."""
        path = self._path(machine)
        with contextlib.suppress(OSError):
            path.parent.mkdir(mode=0o700, exist_ok=True)
            path.touch()

    def forget(self, machine: str) -> None:
        """It is new, or gone. Errors: `OSError`."""
        self._path(machine).unlink(missing_ok=True)

    def __contains__(self, machine: str) -> bool:
        return self._path(machine).exists()

    def _path(self, machine: str) -> Path:
        return self._runtime / "entered" / f"{self._environment}.{machine}"
