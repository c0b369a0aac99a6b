"""Who makes a layer: one command, while others that need it wait. The kernel frees a claim with the process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from envup.images import locks


class Claims:
    """Those of this process, one file for each key below a directory. Threads may share it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._held: dict[str, int] = {}

    def take(self, keys: Sequence[str], waiting: Callable[[], None]) -> bool:
        """Claim all of these. Where another process has one, all claims are given up, it is waited for, and the answer
        is False: what was to be made may be there by now. Errors: `InterruptedByUser`, `OSError`."""
        wanted = sorted({*keys} - self._held.keys())
        if wanted:
            self._sweep()
        for key in wanted:  # in one order, so that no two wait for each other
            descriptor = self._open(key)
            if _is_free(descriptor):
                self._held[key] = descriptor
                continue
            self.release_all()
            try:
                locks.await_lock(descriptor, waiting)
            finally:
                os.close(descriptor)
            return False
        return True

    def hold(self, keys: Iterable[str]) -> None:
        """Claim those of these that no other process has."""
        for key in {*keys} - self._held.keys():
            descriptor = self._open(key)
            if _is_free(descriptor):
                self._held[key] = descriptor
            else:
                os.close(descriptor)

    def release(self, key: str) -> None:
        """Give up one; does nothing where it is not held."""
        if (descriptor := self._held.pop(key, None)) is not None:
            (self._directory / key).unlink(missing_ok=True)
            os.close(descriptor)

    def release_all(self) -> None:
        """Give up what is held still, as that of steps that did not succeed."""
        for key in tuple(self._held):
            self.release(key)

    def _sweep(self) -> None:
        """Remove the files of processes that were killed."""
        for path in self._directory.iterdir() if self._directory.is_dir() else ():
            if path.name not in self._held:
                with contextlib.suppress(FileNotFoundError), locks.claimed(path) as free:
                    if free:
                        path.unlink()

    def _open(self, key: str) -> int:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return locks.open_file(self._directory / key)


def _is_free(descriptor: int) -> bool:
    """Whether the claim is ours now; one on a file that its holder has taken away is none."""
    return locks.try_lock(descriptor) and os.fstat(descriptor).st_nlink > 0
