"""The identity of an environment: a random id, kept in `.envup/` beside the Envfile with the directory it was made for.

A project that was moved keeps its id, and so its machines; a copy (the directory it was made for still holds the same
id) gets one of its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from envup.errors import EnvupError
from envup.value import Value

FOLDER = ".envup"
_NAME = "environment.json"
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_LENGTH = 10


class Identity(Value):
    """`id` is 10 characters of a-z and 2-9; `salt` keys the digests of values that must not be stored."""

    id: str
    salt: str
    directory: Path


def find(directory: Path) -> Identity | None:
    """The identity kept in `directory`, following a move; None where there is none or it belongs to another copy."""
    kept = _read(directory)
    if kept is None or kept.directory == directory:
        return kept
    original = _read(kept.directory)
    if original is not None and original.id == kept.id and not _same(kept.directory, directory):
        return None
    return Identity(kept.id, kept.salt, directory)


def ensure(directory: Path) -> Identity:
    """The identity of `directory`, made and written when it has none, rewritten after a move. Of several processes that
    do this at once, one makes it and the others get the same."""
    identity = find(directory)
    if identity is not None and identity == _read(directory):
        return identity
    with _alone(directory):
        identity = find(directory) or _new(directory)
        if identity != _read(directory):
            _write(identity)
    return identity


def _new(directory: Path) -> Identity:
    import secrets

    name = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
    return Identity(name, secrets.token_hex(16), directory)


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keep other processes from writing an identity here."""
    folder = directory / FOLDER
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _same(one: Path, other: Path) -> bool:
    return one.samefile(other)


def _read(directory: Path) -> Identity | None:
    try:
        kept = json.loads((directory / FOLDER / _NAME).read_bytes())
        return Identity(kept["id"], kept["salt"], Path(kept["directory"]))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise EnvupError(f"cannot read {error.filename}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise EnvupError(
            f"{directory / FOLDER / _NAME} is damaged",
            details=str(error),
            hint=f"`env list` shows the ids of this user's environments; remove {directory / FOLDER} to begin anew",
        ) from error


def _write(identity: Identity) -> None:
    from envup.files import write_atomically

    folder = identity.directory / FOLDER
    try:
        ignore = folder / ".gitignore"
        if not ignore.exists():
            write_atomically(ignore, b"*\n")
        kept = {"id": identity.id, "salt": identity.salt, "directory": os.fspath(identity.directory)}
        write_atomically(folder / _NAME, json.dumps(kept).encode() + b"\n", mode=0o600)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> EnvupError:
    return EnvupError(f"cannot write {folder}: {error.strerror}", hint="the project's directory must be writable")
