"""The index of installed plugins, kept in the cache so that `importlib.metadata` is imported only after a change.

One file for each `sys.path`; it holds while the modification times of the entries of `sys.path` and of every manifest
are those that it was made with. A cache that cannot be read or written is as good as none.
"""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from envup import __version__
from envup.value import Value

Stamp = tuple[str, int, int]


class PluginInfo(Value):
    """One plugin as its distribution and its manifest describe it. `problem` says in one sentence why it cannot be
    used; its `kinds` may then be empty, because nothing is known of it but its name."""

    name: str
    module: str
    distribution: str
    version: str
    kinds: tuple[str, ...]
    manifest: Mapping[str, Any]
    problem: str = ""

    @property
    def envup(self) -> Mapping[str, Any]:
        """What the manifest says to envup: `api`, `kinds`, `isolation`, `install`, `events`, `verbatim`."""
        found = self.manifest.get("x-envup", {})
        return found if isinstance(found, Mapping) else {}

    def may_be(self, kind: str) -> bool:
        """Whether it is of that kind, or may be for all that is known."""
        return kind in self.kinds or (bool(self.problem) and not self.kinds)


Index = tuple[str, tuple[PluginInfo, ...]]
"""A digest of everything in it, and the plugins by name."""


def read(cache: Path) -> Index:
    """The index of what is installed now; from the cache where that still holds, else made again and written there."""
    entries = [entry or str(Path.cwd()) for entry in sys.path]
    name = zlib.crc32("\0".join([__version__, *entries]).encode(errors="surrogateescape"))
    file = cache / f"plugins-{name:08x}.json"
    return _cached(file, entries) or _renewed(file, entries)


def _stamps(paths: Iterable[str]) -> list[Stamp]:
    """(path, modification time in ns, size) of each path; -1 for one that is not there."""
    return [_stamp(path) for path in paths]


def _stamp(path: str) -> Stamp:
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path for each entry would cost more than the call
    except (OSError, ValueError):
        return (path, -1, -1)
    return (path, status.st_mtime_ns, status.st_size)


def _cached(file: Path, entries: list[str]) -> Index | None:
    try:
        content = json.loads(file.read_bytes())
        stamps = [tuple(stamp) for stamp in content["stamps"]]
        paths = [path for path, *_ in stamps]
        if paths[: len(entries)] != entries or stamps != _stamps(paths) or content["envup"] != __version__:
            return None
        return content["key"], tuple(_from_row(*row) for row in content["plugins"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _from_row(
    name: str, module: str, distribution: str, version: str, kinds: list[str], manifest: dict[str, Any], problem: str
) -> PluginInfo:
    return PluginInfo(name, module, distribution, version, tuple(kinds), manifest, problem)


def _renewed(file: Path, entries: list[str]) -> Index:
    import hashlib

    from envup.files import write_atomically
    from envup.plugin_discovery import discover

    before = _stamps(entries)
    plugins, manifests = discover()
    rows = [[p.name, p.module, p.distribution, p.version, list(p.kinds), dict(p.manifest), p.problem] for p in plugins]
    key = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    content = {"envup": __version__, "stamps": before + _stamps(manifests), "key": key, "plugins": rows}
    with suppress(OSError):
        file.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        write_atomically(file, json.dumps(content).encode(), mode=0o600)
    return key, tuple(plugins)
