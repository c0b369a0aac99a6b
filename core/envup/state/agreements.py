"""What the user has agreed to, by project directory: an empty file for each digest, among the user's own data.

Not in the project, which others write and commit; not in `state.db`, which may be deleted and loses history alone.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from envup.errors import EnvupError

_PLACE = "directory"


class Agreements:
    """The answers for one project directory. `data` is the user's, see `Home`."""

    def __init__(self, data: Path, directory: Path) -> None:
        self._directory = os.path.realpath(directory)
        name = hashlib.sha256(os.fsencode(self._directory)).hexdigest()[:24]
        self._folder = _trust(data) / name

    def has(self, digest: str) -> bool:
        """Whether the user agreed to what this digest stands for. Errors: `EnvupError`."""
        try:
            (self._folder / digest).lstat()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _told(error) from error
        return True

    def add(self, digests: Iterable[str]) -> None:
        """Keep that the user agreed; what is kept already stays. Errors: `EnvupError`."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self._folder / _PLACE).write_bytes(os.fsencode(self._directory))
            for digest in digests:
                (self._folder / digest).touch(mode=0o600)
        except OSError as error:
            raise _told(error) from error

    def withdraw(self) -> int:
        """Drop all answers; how many there were. Errors: `EnvupError`."""
        try:
            count = sum(path.name != _PLACE for path in self._folder.iterdir())
            shutil.rmtree(self._folder)
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise _told(error) from error
        return count


def forget_gone(data: Path) -> None:
    """Drop the answers for directories that are no more. Errors: `EnvupError`."""
    try:
        for folder, directory in _kept(data):
            if not directory.is_dir():
                shutil.rmtree(folder)
    except OSError as error:
        raise _told(error) from error


def _kept(data: Path) -> Iterator[tuple[Path, Path]]:
    for place in sorted(_trust(data).glob(f"*/{_PLACE}")):
        yield place.parent, Path(os.fsdecode(place.read_bytes()))


def _trust(data: Path) -> Path:
    return data / "trust"


def _told(error: OSError) -> EnvupError:
    return EnvupError(f"cannot keep what you agreed to: {error.filename}: {error.strerror}")
