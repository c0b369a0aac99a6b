"""The distribution as it is built from this checkout, and a virtual environment with it."""

from __future__ import annotations

import sys
import venv
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from packaging_help import ROOT, build, output


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a virtual environment that holds the wheel and what it depends on, and nothing else."""
    place = tmp_path_factory.mktemp("installed")
    venv.create(place, with_pip=True, system_site_packages=False)
    output([place / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel])
    return place / "bin"
