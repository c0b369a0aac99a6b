"""Gives the kit's own cases its fixtures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envup.testing.fixtures import check_no_leak, image, machine, subject, subjects

__all__ = ["check_no_leak", "image", "machine", "subject", "subjects"]

_PROVISIONERS = Path(__file__).parent / "provisioners"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The cases about provisioners are collected where one is named, and then no other."""
    asked = config.getoption("envup_provisioner") is not None
    about = _PROVISIONERS in (collection_path, *collection_path.parents)
    return True if collection_path != _PROVISIONERS.parent and asked != about else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """These make machines, so they need root, or an account with subordinate ids."""
    for item in items:
        if "envup/testing" in item.path.as_posix():
            item.add_marker(pytest.mark.root if os.geteuid() == 0 else pytest.mark.rootless)
