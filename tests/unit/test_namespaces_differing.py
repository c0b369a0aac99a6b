"""A layer holds what has changed since the one before, and what may change without a trace is taken for changed."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from envup.namespaces import programs

pytestmark = pytest.mark.root

OPAQUE = "trusted.overlay.opaque"


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    """A directory with files of which something is written down as `first`."""
    upper = tmp_path / "upper"
    (upper / "kept/deep").mkdir(parents=True)
    for name in ("same", "touched", "removed", "rewritten", "kept/linked", "kept/deep/file"):
        (upper / name).write_text("old")
    (upper / "other").hardlink_to(upper / "kept/linked")
    differ("note", upper, tmp_path / "first")
    return upper


def differ(verb: str, upper: Path, *arguments: Path, shared: str = "") -> None:
    line = programs.program("differing", verb, str(upper), *map(str, arguments))
    subprocess.run(line, input=shared, text=True, check=True)


def made(upper: Path, *, before: str = "first", after: str = "second") -> Path:
    """What differs from a record; another one is written down."""
    place = upper.parent
    tree = place / f"tree-{after}"
    differ("make", upper, place / after, tree, place / before)
    return tree


def names(tree: Path) -> set[str]:
    return {str(path.relative_to(tree)) for path in tree.rglob("*")}


def test_nothing_is_taken_that_has_not_changed(upper: Path) -> None:
    assert names(made(upper)) == set()


def test_what_has_changed_is_taken_whatever_its_size_and_time(upper: Path) -> None:
    status = (upper / "rewritten").stat()
    (upper / "rewritten").write_text("new")
    os.utime(upper / "rewritten", ns=(status.st_atime_ns, status.st_mtime_ns))
    (upper / "touched").chmod(0o4711)
    os.setxattr(upper / "kept/deep", "user.word", b"word")
    os.utime(upper / "kept", ns=(0, 5))
    tree = made(upper)
    assert names(tree) == {"rewritten", "touched", "kept", "kept/deep"}
    assert (tree / "rewritten").read_text() == "new"
    assert stat.S_IMODE((tree / "touched").stat().st_mode) == 0o4711
    assert (os.getxattr(tree / "kept/deep", "user.word"), (tree / "kept").stat().st_mtime_ns) == (b"word", 5)
    assert names(made(upper, before="second", after="third")) == set()


def test_what_is_gone_or_was_made_again_hides_what_was_there(upper: Path) -> None:
    (upper / "removed").unlink()
    (upper / "same").unlink()
    (upper / "same").mkdir()
    os.rename(upper / "kept/deep", upper / "kept/moved")
    tree = made(upper)
    whiteouts = {name for name in names(tree) if stat.S_ISCHR((tree / name).lstat().st_mode)}
    assert whiteouts == {"removed", "kept/deep"}
    assert names(tree) - whiteouts == {"same", "kept", "kept/moved", "kept/moved/file"}
    assert {name for name in names(tree) - whiteouts if OPAQUE in os.listxattr(tree / name)} == {"same"}


def test_what_is_removed_from_a_directory_that_the_layer_before_had_not_is_gone(upper: Path) -> None:
    (upper / "etc").mkdir()
    os.mknod(upper / "etc/issue", stat.S_IFCHR)
    assert names(made(upper)) == {"etc", "etc/issue"}


def test_files_of_one_inode_stay_so(upper: Path) -> None:
    os.rename(upper / "kept", upper / "moved")
    tree = made(upper)
    assert names(tree) == {"kept", "moved", "moved/linked", "moved/deep", "moved/deep/file", "other"}
    assert (tree / "other").samefile(tree / "moved/linked")


def test_a_page_that_a_program_shares_is_taken_each_time(upper: Path, tmp_path: Path) -> None:
    differ("make", upper, tmp_path / "second", tmp_path / "tree", tmp_path / "first", shared="/same\0")
    assert names(made(upper, before="second", after="third")) == {"same"}
    differ("note", upper, tmp_path / "unknown", shared="/nowhere\0")
    assert not (tmp_path / "unknown").exists()
