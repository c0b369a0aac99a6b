"""Whether the files that a step read have changed: a quick look at their metadata first, their content only then."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from envup.errors import EnvupError, UsageError
from envup.selection import Selection

Read = Path | tuple[Path, Selection]
"""A file, a directory, or what is selected in one."""


def note(reads: Sequence[Read]) -> tuple[str, dict[str, Any]]:
    """(digest of the content, what `unchanged` needs to tell later). Directories are followed down, links are not.

    Errors: `UsageError` naming a path that does not exist.
    """
    quick = _quick(reads)
    return content(reads), {"paths": [_kept(read) for read in reads], "quick": quick}


def _kept(read: Read) -> str | list[Any]:
    if isinstance(read, Path):
        return os.fspath(read)
    return [os.fspath(read[0]), *map(list, (read[1].include, read[1].exclude))]


def _known(kept: str | list[Any]) -> Read:
    return Path(kept) if isinstance(kept, str) else (Path(kept[0]), Selection(*kept[1:]))


def unchanged(recorded: str, noted: Mapping[str, Any]) -> bool:
    """Whether the content is still what `note` digested. What is gone or cannot be read counts as changed."""
    reads = [_known(kept) for kept in noted.get("paths", ())]
    try:
        return _quick(reads) == noted.get("quick") or content(reads) == recorded
    except EnvupError:
        return False


def content(reads: Sequence[Read]) -> str:
    """SHA-256 over names of and below each path, kinds, permission bits and contents, in sorted order."""
    whole = hashlib.sha256()
    for read in reads:
        root = read if isinstance(read, Path) else read[0]
        whole.update(f"{root.name}\0\0".encode(errors="surrogateescape"))
        for path, status in _walk(read):
            _add(whole, path, _name(path, root), status.st_mode)
    return whole.hexdigest()


def portable(reads: Sequence[Read], directory: Path, without: Collection[Path] = ()) -> str:
    """The same as in every other copy of `directory`: without the name of that, without the paths `without` and what is
    below them, and of the permission bits only whether the owner may execute a file."""
    whole, own = hashlib.sha256(), _plain(directory)
    left_out = [_plain(path) for path in without]
    for read in reads:
        root = read if isinstance(read, Path) else read[0]
        place = _plain(root)
        whole.update(f"{'' if place == own else root.name}\0\0".encode(errors="surrogateescape"))
        for path, status in _walk(read):
            name = _name(path, root)
            if not any((place / name).is_relative_to(other) for other in left_out):
                _add(whole, path, name, _portable(status.st_mode))
    return whole.hexdigest()


def _plain(path: Path) -> Path:
    return Path(os.path.normpath(path))


def _name(path: Path, root: Path) -> str:
    return "" if path == root else os.fspath(path.relative_to(root))


def _portable(mode: int) -> int:
    return stat.S_IFMT(mode) | (mode & stat.S_IXUSR if stat.S_ISREG(mode) else 0)


def _add(whole: hashlib._Hash, path: Path, name: str, mode: int) -> None:
    whole.update(f"{name}\0{mode:o}\0".encode(errors="surrogateescape"))
    try:
        if stat.S_ISLNK(mode):
            whole.update(os.fsencode(path.readlink()) + b"\0")
        elif stat.S_ISREG(mode):
            with path.open("rb") as file:
                whole.update(hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        raise EnvupError(f"cannot read {path}: {error.strerror}") from error


def _quick(reads: Sequence[Read]) -> str:
    whole = hashlib.sha256()
    for read in reads:
        for path, status in _walk(read):
            facts = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
            whole.update(f"{path}\0{facts}\0".encode(errors="surrogateescape"))
    return whole.hexdigest()


def _walk(read: Read) -> Iterator[tuple[Path, os.stat_result]]:
    root, selection = (read, None) if isinstance(read, Path) else read
    try:
        status = root.stat() if root.is_symlink() else root.lstat()
        yield root, status
        if root.is_dir():
            below = sorted(root.rglob("*")) if selection is None else (path for path, _name in selection.below(root))
            for path in below:
                yield path, path.lstat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"{error.filename} does not exist") from error
    except OSError as error:
        raise EnvupError(f"cannot read {error.filename}: {error.strerror}") from error
