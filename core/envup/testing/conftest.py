"""Gives the kit's own cases its fixtures."""

from __future__ import annotations

import os

import pytest

from envup.testing.fixtures import check_no_leak, image, machine, subject, subjects

__all__ = ["check_no_leak", "image", "machine", "subject", "subjects"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """These make machines, so they need root, or an account with subordinate ids."""
    for item in items:
        if "envup/testing" in item.path.as_posix():
            item.add_marker(pytest.mark.root if os.geteuid() == 0 else pytest.mark.rootless)
