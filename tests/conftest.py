"""What all tests share: the unit tests' helpers on the path, an environment of its own for each test, and what a user's
programs start with: output that is buffered, and signals as a terminal leaves them, of which a runner in the background
ignores some."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "unit"))
sys.path.insert(0, str(Path(__file__).parent))

os.environ.pop("PYTHONUNBUFFERED", None)
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty `ENVUP_HOME`."""
    path = tmp_path / "envup-home"
    path.mkdir(mode=0o711)
    monkeypatch.setenv("ENVUP_HOME", str(path))
    monkeypatch.delenv("ENVUP_FILE", raising=False)
    return path
