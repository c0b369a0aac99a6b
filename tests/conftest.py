"""What all tests share: the unit tests' helpers on the path, and an environment of its own for each test."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "unit"))
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty `ENVUP_HOME`."""
    path = tmp_path / "envup-home"
    path.mkdir(mode=0o711)
    monkeypatch.setenv("ENVUP_HOME", str(path))
    monkeypatch.delenv("ENVUP_FILE", raising=False)
    return path
