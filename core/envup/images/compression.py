"""Turning a compressed archive into an uncompressed one. The format is told by its first bytes, never by its name."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import zlib
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, BinaryIO

from envup import children
from envup.errors import EnvupError, InterruptedByUser
from envup.images import tools

_CHUNK = 1 << 20
_Stream = IO[bytes] | gzip.GzipFile

_OPENERS: dict[bytes, Callable[[BinaryIO], _Stream]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
_ZSTANDARD = b"\x28\xb5\x2f\xfd"


def expand(source: Path, target: Path) -> None:
    """Write what `source` holds to `target`: gzip, bzip2, xz and zstd are decompressed, all else is copied.

    Errors: `EnvupError` for damaged data, or where the program zstd is missing; `OSError`; `InterruptedByUser`.
    """
    with source.open("rb") as file:
        head = file.read(8)
        file.seek(0)
        if head.startswith(_ZSTANDARD):
            _expand_zstandard(source, target)
            return
        opener = next((opener for magic, opener in _OPENERS.items() if head.startswith(magic)), None)
        if opener is None:
            shutil.copyfile(source, target)
            return
        with opener(file) as stream, target.open("wb") as output:
            _copy(stream, output)


def _copy(stream: _Stream, output: BinaryIO) -> None:
    try:
        while chunk := stream.read(_CHUNK):
            output.write(chunk)
            if children.cancelled():
                raise InterruptedByUser("the decompression was interrupted")
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
        raise EnvupError(f"the compressed archive is damaged or cut short: {error}") from error
    except OSError as error:
        if error.errno is None:
            raise EnvupError(f"the compressed archive is damaged: {error}") from error
        raise


def _expand_zstandard(source: Path, target: Path) -> None:
    import subprocess

    zstd = tools.require("zstd", "zstd", "an archive compressed with zstandard")
    argv = tools.mortal((zstd, "--decompress", "--stdout", "--quiet", "--", str(source)))
    options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with target.open("wb") as output, children.child(argv, stdout=output, **options) as process:
        assert process.stderr is not None
        with process.stderr as lines:
            tail = deque((line.decode(errors="replace").rstrip() for line in lines), maxlen=tools.TAIL)
    if children.cancelled():
        raise InterruptedByUser("zstd was interrupted")
    if process.returncode:
        raise tools.failure("zstd", process.returncode, tail)
