"""Copies of what a step says that it reads."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from envup.provisioner import Selection

Read = Path | tuple[Path, Selection]


def path_of(read: Read) -> Path:
    """The file or directory."""
    return read if isinstance(read, Path) else read[0]


def inside(reads: Sequence[Read], directory: Path) -> list[Read]:
    """Those that lie in a directory."""
    return [read for read in reads if path_of(read).is_relative_to(directory)]


def copy_reads(reads: Sequence[Read], directory: Path, target: Path) -> None:
    """Put what is read in a directory to the same places in another one. What is itself a link is followed."""
    for read in inside(reads, directory):
        root, selection = (read, Selection()) if isinstance(read, Path) else read
        _copy(root.resolve(), target / root.relative_to(directory))
        if root.is_dir():
            for path, _name in selection.below(root):
                _copy(path, target / path.relative_to(directory))


def _copy(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        target.unlink(missing_ok=True)
        target.symlink_to(path.readlink())
    elif path.is_dir():
        target.mkdir(exist_ok=True)
        shutil.copystat(path, target)
    else:
        shutil.copy2(path, target)
