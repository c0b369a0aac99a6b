"""Whether what a step read has changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envup.content import note, unchanged
from envup.errors import UsageError


def test_a_file_that_is_only_touched_counts_as_unchanged(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("one")
    digest, noted = note([file])
    os.utime(file, (1, 1))
    assert unchanged(digest, noted)


def test_other_content_another_mode_and_absence_count_as_changed(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("one")
    digest, noted = note([file])
    file.chmod(0o755)
    assert not unchanged(digest, noted)
    file.unlink()
    assert not unchanged(digest, noted)
    file.write_text("two")
    assert not unchanged(digest, noted)


def test_a_directory_changes_with_what_is_below_it(tmp_path: Path) -> None:
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "d/e/f").write_text("x")
    digest, noted = note([tmp_path / "d"])
    assert unchanged(digest, noted)
    (tmp_path / "d/e/link").symlink_to("f")
    assert not unchanged(digest, noted)


def test_a_path_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="missing does not exist"):
        note([tmp_path / "missing"])


def test_nothing_read_is_never_changed() -> None:
    digest, noted = note([])
    assert unchanged(digest, noted)
