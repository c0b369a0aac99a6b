"""Named states of a machine's files, each a copy in its directory.

snapshots/<name>/
    upper, disk.img or root     what the machine writes to, as it was
    snapshot.json               when that was, and whether the machine had been started by then
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from envup.errors import EnvupError
from envup.namespaces import directories, layers, programs, records
from envup.namespaces.layers import Still
from envup.provider import Snapshot

_FILE = "snapshot.json"
_NEW, _UNSTARTED = ".new", ".unstarted.new"
"""Endings of what is about to take the place of a part; the second where the machine had not been started by then."""
_PARTS = ("disk.img", "upper", "root")
"""What a machine may write to: the first of them that it has."""


def every(directory: Path) -> Sequence[Snapshot]:
    """Those of the machine in a directory, the oldest first."""
    place = directory / "snapshots"
    found = []
    for path in place.iterdir() if place.is_dir() else ():
        facts = None if path.name.startswith(".") else directories.read(f"{path}/{_FILE}")
        if facts is not None:
            found.append(Snapshot(path.name, facts["created"]))
    return sorted(found, key=lambda snapshot: snapshot.created)


def take(directory: Path, name: str, still: Still, first: int | None) -> Snapshot:
    """Copy what the machine has written, while it stands `still`; `first` is the first of its processes, if it has any.
    Errors: `EnvupError`, with nothing left."""
    place = directory / "snapshots"
    if (place / name).exists():
        raise EnvupError(f"machine '{_called(directory)}' has a snapshot '{name}' already")
    part, created = _part(directory), time.time()
    place.mkdir(mode=0o700, exist_ok=True)
    new = place / f".{name}"
    new.mkdir(mode=0o700)
    try:
        _copy(directory / part, new / part, still, first)
        _bring_to_disk(new)
        facts = {"created": created, "started": (directory / records.FILE).exists()}
        records.replace(f"{new}/{_FILE}", json.dumps(facts), synced=True)
        new.rename(place / name)
    except BaseException:
        programs.remove(new)
        raise
    return Snapshot(name, created)


def require_part(directory: Path) -> None:
    """Errors: `EnvupError` where the machine writes to nothing that could be copied."""
    _part(directory)


@contextmanager
def copied(directory: Path, still: Still, first: int | None) -> Iterator[Path]:
    """A copy of what the machine has written, below a new directory, taken as `take` does; removed in the end. Errors:
    `EnvupError`."""
    part, place = _part(directory), _aside(directory, "copying")
    place.mkdir(mode=0o700)
    try:
        _copy(directory / part, place / part, still, first)
        yield place
    finally:
        programs.remove(place)


def _copy(source: Path, target: Path, still: Still, first: int | None) -> None:
    mounted = None if first is None or source.name != "disk.img" else Path(f"/proc/{first}/root")
    if mounted is not None:
        _bring_to_disk(mounted)  # most of it, so that the machine stands still for a shorter time
    with still():
        if mounted is not None:
            _bring_to_disk(mounted)
        layers.copy(source, target)


def _bring_to_disk(path: Path) -> None:
    programs.run(("sync", "--file-system", str(path)), f"cannot bring {path} to the disk")


def require(directory: Path, name: str) -> Mapping[str, Any]:
    """The facts of a snapshot that can be restored. Errors: `EnvupError`."""
    kept = directory / "snapshots" / name
    facts = directories.read(f"{kept}/{_FILE}")
    if facts is None:
        brief = f"machine '{_called(directory)}' has no snapshot '{name}'"
        raise EnvupError(brief, hint="`env snapshot list` tells them")
    if not (kept / _part(directory)).exists():
        raise EnvupError(f"machine '{_called(directory)}' is of another kind than when snapshot '{name}' was taken")
    return facts


def restore(directory: Path, name: str) -> None:
    """Put a copy in the place of what the machine, which does not run, has written. Errors: `EnvupError`; it has either
    then, see `finish`."""
    facts, part = require(directory, name), _part(directory)
    kept = directory / "snapshots" / name
    copied = _aside(directory, "copying")
    layers.copy(kept / part, copied)
    _bring_to_disk(copied)
    copied.rename(directory / f"{part}{_NEW if facts['started'] else _UNSTARTED}")
    for name in ("work", part):
        if (directory / name).exists():
            (directory / name).rename(_aside(directory, "old"))
    finish(directory)


def copy(origin: Path, name: str, directory: Path, size: int | None) -> None:
    """Let a new machine begin with a snapshot of another, in the place of what it was made with; its disk, if it has
    one, may be of `size` bytes. Errors: `EnvupError`."""
    part = _part(origin)
    kept = origin / "snapshots" / name / part
    fits = part == "root" or (directory / part).exists()
    alike = fits and (part == "disk.img") == (directory / "disk.img").exists()
    if not alike or (size is not None and kept.stat().st_size > size):
        brief = f"snapshot '{name}' of machine '{_called(origin)}' does not fit what machine '{_called(directory)}' has"
        raise EnvupError(brief, hint="declare the same `resources.disk` for both, and no tmpfs")
    programs.remove(directory / part, *(directory / other for other in ("upper", "work")))
    layers.copy(kept, directory / part)
    if part == "upper":
        (directory / "work").mkdir(mode=0o700)
    _bring_to_disk(directory)


def finish(directory: Path) -> None:
    """Bring a restoration to its end that was cut short once the old files had been put aside, else give it up; remove
    what is left of either."""
    for part, ending in itertools.product(_PARTS, (_NEW, _UNSTARTED)):
        new, place = directory / f"{part}{ending}", directory / part
        if new.exists() and place.exists():
            new.rename(_aside(directory, "old"))
        elif new.exists():
            if ending == _UNSTARTED:
                (directory / records.FILE).unlink(missing_ok=True)
            new.rename(place)
    if (directory / "upper").exists():
        (directory / "work").mkdir(mode=0o700, exist_ok=True)
    sweep(directory)


def sweep(directory: Path) -> None:
    """Remove what commands that died left of taking and restoring."""
    programs.remove(*(left for kind in ("old.*", "copying.*", "snapshots/.*") for left in directory.glob(kind)))


def _aside(directory: Path, name: str) -> Path:
    """A name that nobody has: what removes it may outlive the command that was killed."""
    return directory / f"{name}.{os.urandom(4).hex()}"


def delete(directory: Path, name: str) -> None:
    """Remove one; succeeds when it is gone."""
    kept, gone = directory / "snapshots" / name, directory / "snapshots" / f".{name}"
    programs.remove(gone)
    if kept.exists():
        kept.rename(gone)
    programs.remove(gone)


def _part(directory: Path) -> str:
    for part in _PARTS:
        if (directory / part).exists() and any((directory / part).iterdir() if part == "root" else (True,)):
            return part
    brief = f"machine '{_called(directory)}' writes to memory alone: no snapshot of it can be taken"
    raise EnvupError(brief, hint="declare it without a tmpfs")


def _called(directory: Path) -> str:
    return directory.name.rpartition(".")[2]
