"""Whether the files that a step read have changed: a quick look at their metadata first, their content only then."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from envup.errors import EnvupError, UsageError


def note(paths: Sequence[Path]) -> tuple[str, dict[str, Any]]:
    """(digest of the content, what `unchanged` needs to tell later). Directories are followed down, links are not.

    Errors: `UsageError` naming a path that does not exist.
    """
    quick = _quick(paths)
    return content(paths), {"paths": [os.fspath(path) for path in paths], "quick": quick}


def unchanged(recorded: str, noted: Mapping[str, Any]) -> bool:
    """Whether the content is still what `note` digested. What is gone or cannot be read counts as changed."""
    paths = [Path(path) for path in noted.get("paths", ())]
    try:
        return _quick(paths) == noted.get("quick") or content(paths) == recorded
    except EnvupError:
        return False


def content(paths: Sequence[Path]) -> str:
    """SHA-256 over names below each path, kinds, permission bits and contents, in sorted order."""
    whole = hashlib.sha256()
    for root in paths:
        for path, status in _walk(root):
            _add(whole, path, "" if path == root else os.fspath(path.relative_to(root)), status.st_mode)
    return whole.hexdigest()


def _add(whole: hashlib._Hash, path: Path, name: str, mode: int) -> None:
    whole.update(f"{name}\0{mode:o}\0".encode(errors="surrogateescape"))
    try:
        if stat.S_ISLNK(mode):
            whole.update(os.fsencode(path.readlink()))
        elif stat.S_ISREG(mode):
            with path.open("rb") as file:
                whole.update(hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        raise EnvupError(f"cannot read {path}: {error.strerror}") from error


def _quick(paths: Sequence[Path]) -> str:
    whole = hashlib.sha256()
    for root in paths:
        for path, status in _walk(root):
            facts = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
            whole.update(f"{path}\0{facts}\0".encode(errors="surrogateescape"))
    return whole.hexdigest()


def _walk(root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    try:
        status = root.stat() if root.is_symlink() else root.lstat()
        yield root, status
        if root.is_dir():
            for path in sorted(root.rglob("*")):
                yield path, path.lstat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"{error.filename} does not exist") from error
    except OSError as error:
        raise EnvupError(f"cannot read {error.filename}: {error.strerror}") from error
