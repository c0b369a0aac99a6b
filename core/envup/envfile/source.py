"""Reading the bytes of an Envfile or a .env, and making sure that they are text."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from envup.errors import EnvfileError, Problem, UsageError

LIMIT = 1 << 20
"""Largest file that is read, in bytes."""

UNPRINTABLE = "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f\ufeff\ufffe\uffff]"


def read(file: Path) -> bytes:
    """The content of a regular file. Errors: `UsageError` when it is missing, unreadable or no regular file,
    `EnvfileError` when it is larger than `LIMIT`."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UsageError(f"{file} is not a regular file")
            content = stream.read(LIMIT + 1)
    except FileNotFoundError as error:
        raise UsageError(f"there is no {file}", hint="run: env new") from error
    except IsADirectoryError as error:
        raise UsageError(f"{file} is a directory, not an Envfile") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > LIMIT:
        raise EnvfileError([Problem(file.name, 1, 1, "", f"is larger than {LIMIT >> 20} MiB")])
    return content


def decode(content: bytes, name: str) -> str:
    """UTF-8 text without a byte order mark. Errors: `EnvfileError` at the first byte that is no text."""
    try:
        text = content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8")
        raise EnvfileError([_at(name, before, f"byte 0x{content[error.start]:02x} is not UTF-8")]) from error
    if found := re.search(UNPRINTABLE, text):
        code = ord(found.group())
        raise EnvfileError([_at(name, text[: found.start()], f"the character U+{code:04X} is not allowed here")])
    return text


def _at(name: str, before: str, message: str) -> Problem:
    return Problem(name, before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1, "", message)
