"""Keeping what a machine has written as a layer: the differences alone where one before it was made of the same machine
since this host booted, and is there yet; else all.

layers/<key>/written.<id>.json      what the machine of that id had written by then (`differing`); of the latest only
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from envup.errors import EnvupError
from envup.namespaces import differing, layers, programs, writing
from envup.namespaces.layers import LayerStore, Still


class _Unfit(Exception):
    """The differences alone make no layer."""


class Keeper:
    """Keeps what lies in `upper`, which the machine with an id writes to, above the layers `lower` and the tree of its
    image. It is read while the machine stands `still`; `first` is the first of its processes, if it has any."""

    def __init__(
        self,
        store: LayerStore,
        upper: Path,
        lower: Sequence[str],
        image: Path,
        machine: str,
        still: Still,
        first: int | None,
    ) -> None:
        self._store, self._upper, self._lower, self._image = store, upper, list(lower), image
        self._record, self._still, self._first = record(machine), still, first

    def keep(self, key: str, note: Mapping[str, Any]) -> None:
        """See `LayerStore.keep`. Errors: `EnvupError`."""
        before = _records(self._store, self._record)
        below = self._stack(before[0].parent.name) if before else []
        if not below or len(below) >= layers.DEEPEST or not self._differences(key, below, note, before[0]):
            self._all(key, note)
        for old in _records(self._store, self._record)[1:]:
            old.unlink(missing_ok=True)

    def _stack(self, key: str) -> list[str]:
        """The layers with this one at the top; none where it is not whole."""
        try:
            with self._store.using(key) as keys:
                return keys
        except EnvupError:
            return []

    def _differences(self, key: str, below: Sequence[str], note: Mapping[str, Any], before: Path) -> bool:
        """Whether the layer is kept so, and those below it are there."""
        try:
            self._store.keep(key, below, note, lambda new: self._write(new, before))
        except _Unfit:
            return False
        return bool(self._stack(key))

    def _all(self, key: str, note: Mapping[str, Any]) -> None:
        data = self._store.directory.parent
        merged = [*reversed(layers.stack(data, self._lower))] if len(self._lower) >= layers.DEEPEST else []

        def fill(new: Path) -> None:
            with self._still():
                shared = self._shared()
                if merged:
                    layers.merge([*merged, self._upper], new / layers.TREE, self._image)
                else:
                    layers.copy(self._upper, new / layers.TREE)
                self._run("note", new, shared)

        self._store.keep(key, [] if merged else self._lower, note, fill)

    def _write(self, new: Path, before: Path) -> None:
        with self._still():
            self._run("make", new, self._shared(), str(new / layers.TREE), str(before))
        if not (new / layers.TREE).exists():
            raise _Unfit

    def _shared(self) -> Sequence[str] | None:
        """See `writing`; to be asked before anything is read, as what does not stand still yet may write meanwhile."""
        return [] if self._first is None else writing.shared(self._first, self._upper)

    def _run(self, verb: str, new: Path, shared: Sequence[str] | None, *more: str) -> None:
        """Run `differing`; there is no record afterwards where it would not hold."""
        place = new / self._record
        data = "".join(f"{path}\0" for path in shared or ()).encode("utf-8", "surrogateescape")
        line = programs.program("differing", verb, str(self._upper), str(place), *more)
        failure = f"cannot keep what is in {self._upper}"
        programs.run((*programs.as_owner(), *line), failure, data=data, fine=(0, differing.UNFIT))
        if shared is None:
            place.unlink(missing_ok=True)


def record(machine: str) -> str:
    """The name of the record of what the machine with an id has written."""
    return f"written.{machine}.json"


def forget(store: LayerStore, machine: str) -> None:
    """Have all kept the next time: the files of the machine with an id are going to be others."""
    for path in _records(store, record(machine)):
        path.unlink(missing_ok=True)


def _records(store: LayerStore, name: str) -> list[Path]:
    """The latest first."""
    found = dict[Path, int]()
    for path in store.directory.glob(f"[!.]*/{name}"):
        with contextlib.suppress(FileNotFoundError):
            found[path] = path.stat().st_mtime_ns
    return sorted(found, key=lambda path: found[path], reverse=True)
