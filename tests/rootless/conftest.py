"""An ordinary account with a home that is closed to others, and envup where it can read it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import readable
from ordinary import TESTS, Account


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """A directory that every account can read, with envup and what it needs in `packages`. Not one of pytest's, which
    are closed to others."""
    with tempfile.TemporaryDirectory(prefix="envup-rootless-", dir="/var/tmp") as directory:
        path = Path(directory)
        path.chmod(0o755)
        readable.make(path)
        yield path
        subprocess.run(["rm", "-rf", "--one-file-system", path / "home"], check=True)


@pytest.fixture(scope="session")
def account(place: Path) -> Account:
    """The account with subordinate ids."""
    name = subprocess.run([TESTS / "account.sh"], capture_output=True, text=True, check=True).stdout.strip()
    return Account(name, place, place / "home")


@pytest.fixture(scope="session")
def stranger(place: Path) -> Account:
    """Another account, without subordinate ids."""
    return Account("nobody", place, place / "stranger")
