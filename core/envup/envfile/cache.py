"""Validated documents, kept so that an Envfile that did not change is not parsed again.

A file holds a head, which names the Envfile, and the document as it was written: values from outside the Envfile are
not in it, only a digest of them with a salt. It is good for one content of the Envfile, one set of plugins, one schema
and the same values.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envup import __version__
from envup.errors import EnvupError

if TYPE_CHECKING:
    from envup.envfile.interpolate import Variables
    from envup.plugins import Host

SCHEMA = Path(__file__).parent.parent / "envfile.schema.json"


def sweep(cache: Path) -> None:
    """Remove the entries of Envfiles that are gone, damaged ones, and what commands that died have half written.
    Errors: `EnvupError`."""
    unneeded = [entry for entry in cache.glob("envfile-*.json") if not _is_needed(entry)]
    try:
        for path in (*unneeded, *cache.glob(".envfile-*")):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise EnvupError(f"cannot remove {error.filename}: {error.strerror}") from error


def _is_needed(entry: Path) -> bool:
    try:
        with entry.open("rb") as file:
            return Path(os.fsdecode(json.loads(file.readline())["file"])).exists()
    except (OSError, ValueError, KeyError, TypeError):
        return False


class Cache:
    """The entry of one Envfile. A damaged one counts as none."""

    def __init__(self, file: Path, content: bytes, host: Host, provider: str | None) -> None:
        self._file = str(file)
        self._path = host.home.cache / f"envfile-{_digest(os.fsencode(file))[:24]}.json"
        about = [__version__, SCHEMA.stat().st_mtime_ns, host.key, provider, _digest(content)]
        self._key = _digest(json.dumps(about).encode())

    def get(self, variables: Variables) -> Mapping[str, Any] | None:
        """The document in its normal form, if it still holds with the values that `variables` gives now."""
        try:
            head, _, body = self._path.read_bytes().partition(b"\n")
            about = json.loads(head)
            if about["key"] != self._key or about["body"] != _digest(body):
                return None
            values = {name: variables.get(name) for name in about["variables"]}
            if about["values"] != _digest_of_values(about["salt"], values):
                return None
            document: Mapping[str, Any] = json.loads(body)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return document

    def put(self, document: Mapping[str, Any], variables: Variables) -> None:
        """Keep a document that holds with the values of `variables`. A cache that cannot be written is no loss."""
        from envup.files import write_atomically

        salt = os.urandom(16).hex()
        body = json.dumps(document)
        head = {
            "file": self._file,
            "key": self._key,
            "body": _digest(body.encode()),
            "salt": salt,
            "variables": list(variables.used),
            "values": _digest_of_values(salt, variables.used),
        }
        with suppress(OSError):
            self._path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
            write_atomically(self._path, f"{json.dumps(head)}\n{body}".encode(), mode=0o600)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digest_of_values(salt: str, values: Mapping[str, str | None]) -> str:
    return _digest(json.dumps([salt, sorted(values.items())], default=str).encode())
