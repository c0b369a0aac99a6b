"""A large file that is written whole or not at all, compressed as its name says, or standard output."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from envup import children
from envup.errors import EnvupError, UsageError
from envup.images import tools

_ZSTD, _GZIP = ("zstd", "--quiet", "--threads=0", "--stdout"), ("gzip", "--no-name", "--stdout")
_COMPRESSORS = {".zst": _ZSTD, ".tzst": _ZSTD, ".gz": _GZIP, ".tgz": _GZIP}
_UNKNOWN = (".xz", ".txz", ".bz2", ".tbz2", ".lz4", ".zip")
_NAME = 60
"""Characters of a name that the one it has while it is written begins with; the rest leaves room for that."""
STANDARD_OUTPUT = "-"


def require(name: str, *, force: bool) -> None:
    """Errors: `UsageError` where a file of that name cannot or must not be written."""
    path = Path(name)
    if path.suffix in _UNKNOWN:
        raise UsageError(
            f"{name}: {path.suffix} is none of the compressions", hint="end it in .tar, .tar.zst or .tar.gz"
        )
    if name == STANDARD_OUTPUT:
        if sys.stdout.isatty():
            raise UsageError("an image is not for a terminal", hint="name a file, or redirect the output")
        return
    try:
        is_in_directory, mode = path.parent.is_dir(), _mode(path)
    except OSError as error:
        raise UsageError(f"cannot write {name}: {error.strerror}", hint="name another file") from error
    if not is_in_directory:
        raise UsageError(f"{path.parent} is no directory")
    if stat.S_ISDIR(mode):
        raise UsageError(f"{name} is a directory", hint="name a file in it")
    if mode and not stat.S_ISREG(mode):
        raise UsageError(f"{name} is no regular file", hint="name another; - is standard output, also for a pipe")
    if os.path.lexists(path) and not force:
        raise UsageError(f"{name} is there already", hint="--force replaces it")


def _mode(path: Path) -> int:
    """Of what a name leads to, 0 where that is nothing."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0


@contextlib.contextmanager
def opened(name: str, *, force: bool) -> Iterator[BinaryIO]:
    """What is written in the body gets the name when all of it is on the disk; after an error there is nothing, or with
    `force` what there was before. A symbolic link stays, and what it points to is replaced. A second writer of the same
    name without `force` fails. Errors: `EnvupError`, `BrokenPipeError` of standard output."""
    try:
        if name == STANDARD_OUTPUT:
            with os.fdopen(os.dup(1), "wb") as stream:
                yield stream
        else:
            with _named(Path(os.path.realpath(name)), Path(name).suffix, force=force) as stream:
                yield stream
    except FileExistsError as error:
        raise EnvupError(f"{name} appeared meanwhile", hint="--force replaces it") from error
    except OSError as error:
        is_output = name == STANDARD_OUTPUT
        if is_output and isinstance(error, BrokenPipeError):
            raise
        hint = "free some space on that disk" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        where = "standard output" if is_output else name
        raise EnvupError(f"cannot write {where}: {error.strerror}", hint=hint) from error


@contextlib.contextmanager
def _named(path: Path, suffix: str, *, force: bool) -> Iterator[BinaryIO]:
    temporary = path.with_name(f".{path.name[:_NAME]}.{os.urandom(4).hex()}")
    with temporary.open("xb") as file:
        try:
            with _compressed(suffix, file) as stream:
                yield stream
            file.flush()
            os.fsync(file.fileno())
            if force:
                temporary.replace(path)
            else:
                path.hardlink_to(temporary)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _compressed(suffix: str, file: BinaryIO) -> Iterator[BinaryIO]:
    if suffix not in _COMPRESSORS:
        yield file
        return
    tool, *options = _COMPRESSORS[suffix]
    line = (tools.require(tool, tool, f"a file that ends in {suffix}"), *options)
    pipe = subprocess.PIPE
    with children.child(tools.mortal(line), stdin=pipe, stdout=file, stderr=pipe) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        with process.stderr as said:
            with contextlib.suppress(BrokenPipeError), process.stdin as stream:
                yield cast("BinaryIO", stream)
            text = said.read().decode(errors="replace").splitlines()
    if process.returncode:
        raise tools.failure(tool, process.returncode, text[-tools.TAIL :])
