"""The index of the store: which reference of an Envfile stands for which digest, one small file a reference."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from envup.files import write_atomically
from envup.model import Pin

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Entry(NamedTuple):
    """One reference in the index. `options` has digests in the place of values from outside the Envfile. Times are
    seconds since the epoch; `size` is bytes; `environment` holds the variables that the image declares; `pin` is what a
    lock file says of it, None where that was not noted."""

    source: str
    options: Mapping[str, Any]
    digest: str
    architecture: str
    size: int
    created: float
    last_used: float
    environment: Mapping[str, str] = MappingProxyType({})
    pin: Pin | None = None

    @property
    def locked(self) -> str:
        """The digest by which a lock file knows it."""
        return self.pin.digest if self.pin else self.digest


def key_of(source: str, options: Mapping[str, Any], distinction: Mapping[str, Any]) -> str:
    """What tells a reference from others: its source, the options that say something, and the source's own key."""
    telling = {name: value for name, value in options.items() if value is not None}
    text = json.dumps([source, telling, distinction], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class Index:
    """The files below `directory`. A damaged one counts as missing: the image is then fetched again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, key: str) -> Entry | None:
        """The entry of that key, or None."""
        return _parse(self._path(key))

    def write(self, key: str, entry: Entry) -> None:
        """Put an entry in the place of what is there. Errors: `OSError`."""
        facts = {name: value for name, value in entry._asdict().items() if name != "last_used"}
        facts["environment"] = dict(entry.environment)
        facts["pin"] = {"digest": entry.pin.digest, "facts": dict(entry.pin.facts)} if entry.pin else None
        write_atomically(self._path(key), json.dumps(facts, default=str).encode(), mode=0o600)

    def touch(self, key: str) -> None:
        """Note that it was used now."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self._path(key), (time.time(), time.time()))

    def entries(self) -> Iterator[tuple[str, Entry | None]]:
        """All keys and their entries; None for one that is damaged."""
        for path in sorted(self._directory.glob("[!.]*.json")):
            yield path.stem, _parse(path)

    def remove(self, key: str) -> None:
        """Drop an entry; succeeds when it is gone."""
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._directory / f"{key}.json"


def _parse(path: Path) -> Entry | None:
    try:
        facts = dict(json.loads(path.read_bytes()))
        pin = Pin(**known) if (known := facts.pop("pin", None)) else None
        entry = Entry(**facts, last_used=path.stat().st_mtime, pin=pin)
        sound = _DIGEST.fullmatch(entry.digest) is not None and isinstance(entry.size, int)
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return entry if sound else None
