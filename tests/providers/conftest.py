"""Gives the cases about one provider the kit's fixtures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envup.testing.fixtures import check_no_leak, image, machine, subject, subjects

pytest.register_assert_rewrite("random_layers")

__all__ = ["check_no_leak", "image", "machine", "subject", "subjects"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """These make machines, so they need root, or an account with subordinate ids."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.root if os.geteuid() == 0 else pytest.mark.rootless)
