"""What machines had written when they were kept: one directory for each layer, stacked over an image.

layers/<key>/
    tree/           what the machine's upper directory held; one of virtual machines has a disk there
    layer.json      what `Layer` tells of it, and `below`: the keys of the layers under it, the lowest first; its
                    time of change is that of the last use
    synced          has a byte once all of it is on the disk; until then the layer holds for this boot alone
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from envup.errors import EnvupError
from envup.events import Event
from envup.namespaces import directories, programs, records
from envup.provider import Layer, ProviderContext

Still = Callable[[], AbstractContextManager[None]]
"""In which a machine stands still."""
TREE = "tree"
DEEPEST = 30
"""Layers on which a machine stands at most: one above so many holds what is in all of them as well. A mount's options,
in which all are named, must fit a page."""
_LAYERS, _FILE = "layers", "layer.json"
_FACTS = {"below", "note", "created", "size", "boot"}
_SYNCED = "synced"
_MARK = f"exec 9<{_SYNCED} && flock -n 9 && sync -f . && truncate --no-create --size=1 {_SYNCED}"
_SYNC = f'for place; do (cd "$place" && {_MARK}); done'
"""Marks the directories that it began in, and never others that have the names by then; one at a time does. It makes no
file, so a directory that is being removed meanwhile becomes empty."""


def stack(data: Path, keys: Sequence[str], part: str = TREE) -> list[Path]:
    """Of a stack of layers below a data directory, the lowest first, what is put above an image, the uppermost first.
    Those whose way to the disk was cut short are brought there. Errors: `EnvupError` when one is gone or damaged."""
    places, boot = [data / _LAYERS / key for key in reversed(keys)], records.boot()
    for place in places:
        if _facts(place, part, boot) is None:
            state = "damaged" if place.exists() else "gone"
            left = f"what the machine itself wrote is in its directory below {data / 'machines'}"
            hint = f"{left}: copy what you need from there before `env destroy`"
            raise EnvupError(f"the layer {place.name} is {state}", hint=hint)
    _sync(*(place for place in places if not _is_synced(place)))
    return [place / part for place in places]


class LayerStore:
    """The layers of one provider. `standing` gives those on which machines stand, with the name of one; `part` is what
    each must have."""

    def __init__(self, context: ProviderContext, standing: Callable[[], Mapping[str, str]], part: str = TREE) -> None:
        self.directory, self._standing, self._part = context.data / _LAYERS, standing, part
        self._emit = context.emit

    def all(self) -> list[Layer]:
        """Those that are whole, as all below them are."""
        standing = self._standing()
        return [_layer(path, facts, in_use=path.name in standing) for path, facts in self._whole().items()]

    def _places(self) -> list[Path]:
        names = sorted(self.directory.iterdir()) if self.directory.is_dir() else []
        return [path for path in names if not path.name.startswith(".")]

    def _whole(self) -> dict[Path, Mapping[str, Any]]:
        boot = records.boot()
        read = {path: facts for path in self._places() if (facts := _facts(path, self._part, boot)) is not None}
        keys = {path.name for path in read}
        return {path: facts for path, facts in read.items() if keys.issuperset(facts["below"])}

    def _found(self, key: str) -> Mapping[str, Any] | None:
        """What is told of a layer; None where it or one below it is not whole."""
        boot = records.boot()
        facts = _facts(self.directory / key, self._part, boot)
        below = [] if facts is None else [_facts(self.directory / other, self._part, boot) for other in facts["below"]]
        return None if None in below else facts

    @contextlib.contextmanager
    def using(self, key: str) -> Iterator[list[str]]:
        """The stack with a layer at its top, the lowest first, which stays while the context lasts; empty for an empty
        key. Errors: `EnvupError` when it is gone."""
        if not key:
            yield []
            return
        with self._lock(fcntl.LOCK_SH):
            facts = self._found(key)
            if facts is None:
                raise EnvupError(f"the layer {key} is gone", hint="run the command again")
            os.utime(self.directory / key / _FILE)
            yield [*facts["below"], key]

    def keep(self, key: str, below: Sequence[str], note: Mapping[str, Any], fill: Callable[[Path], None]) -> None:
        """Keep what `fill` puts into a new directory; does nothing where the layer is there and whole. Errors:
        `EnvupError`, with nothing left."""
        place = self.directory / key
        if self._found(key) is not None:
            return
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.sweep()
        new = self._aside(key)
        with contextlib.ExitStack() as held:
            with self._lock(fcntl.LOCK_SH):
                new.mkdir(mode=0o700)
                held.enter_context(directories.locked(new))
            try:
                fill(new)
                facts = {
                    "below": list(below),
                    "note": dict(note),
                    "created": time.time(),
                    "size": _size(new),
                    "boot": records.boot(),
                }
                (new / _SYNCED).touch()
                (new / _FILE).write_text(json.dumps(facts), encoding="utf-8")
                self._place(new, place)
            finally:
                programs.remove(new)
        _sync(place)

    def _place(self, new: Path, place: Path) -> None:
        """Give a whole layer its name, which a damaged one may have."""
        with self._lock(fcntl.LOCK_EX):
            if self._found(place.name) is not None:
                return
            damaged = place.is_dir()
            if damaged:
                self._put_aside(place)
            new.rename(place)
        if damaged:
            self._emit(Event("warning", text=f"the layer {place.name} was damaged, and has been made again"))
            self.sweep()

    def _put_aside(self, place: Path) -> None:
        """Have `sweep` remove a layer that is not whole. Errors: `EnvupError` when a machine stands on it."""
        if user := self._standing().get(place.name):
            brief = f"the layer {place.name} is damaged, and machine '{user}' stands on it"
            raise EnvupError(brief, hint=f"destroy machine '{user}'")
        place.rename(self._aside(place.name))

    def _aside(self, key: str) -> Path:
        return self.directory / f".{key}.{os.urandom(4).hex()}"

    def remove(self, key: str) -> None:
        """Remove a layer; succeeds when it is gone. Errors: `EnvupError` when a machine or a layer stands on it."""
        if not (self.directory / key).is_dir():
            return
        gone = self._aside(key)
        try:
            with self._lock(fcntl.LOCK_EX):
                above = next((layer.key for layer in self.all() if layer.parent == key), None)
                if user := self._standing().get(key) or above:
                    raise EnvupError(f"the layer {key} is in use by {user}")
                (self.directory / key).rename(gone)
        except FileNotFoundError:
            return
        except OSError as error:
            raise EnvupError(f"cannot remove the layer {key}: {error.strerror}") from error
        programs.remove(gone)

    def sweep(self) -> None:
        """Remove what commands that died had half made or half removed."""
        if not self.directory.is_dir() or not any(self.directory.glob(".*.*")):
            return
        with self._lock(fcntl.LOCK_EX):  # who makes a directory holds the lock until it holds that of the directory
            for path in self.directory.glob(".*.*"):
                with contextlib.suppress(BlockingIOError, FileNotFoundError), directories.locked(path, wait=False):
                    programs.remove(path)

    def mend(self) -> None:
        """Remove what is no whole layer: what `sweep` does, and those that were damaged, or lost their content in a
        crash, or what is below them; but none that a machine stands on."""
        standing = self._standing()
        if broken := set(self._places()) - self._whole().keys():
            with self._lock(fcntl.LOCK_EX):
                for place in broken - self._whole().keys():
                    if place.name not in standing and place.is_dir():
                        self._put_aside(place)
        self.sweep()

    @contextlib.contextmanager
    def _lock(self, kind: int) -> Iterator[None]:
        descriptor = os.open(self.directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, kind)
            yield
        finally:
            os.close(descriptor)


def _facts(path: Path, part: str, boot: str) -> Mapping[str, Any] | None:
    """What is told of a layer; None where it is damaged or may not have reached the disk."""
    facts = directories.read(f"{path}/{_FILE}")
    if facts is None or not facts.keys() >= _FACTS or not (path / part).exists():
        return None
    return facts if facts["boot"] == boot or _is_synced(path) else None


def _is_synced(path: Path) -> bool:
    try:
        return (path / _SYNCED).stat().st_size > 0
    except FileNotFoundError:
        return False


def _layer(path: Path, facts: Mapping[str, Any], *, in_use: bool) -> Layer:
    parent = facts["below"][-1] if facts["below"] else ""
    used = (path / _FILE).stat().st_mtime
    return Layer(path.name, parent, facts["size"], facts["created"], used, facts["note"], in_use)


def _sync(*places: Path) -> None:
    """Have layers brought to the disk, by a process that nobody waits for. Errors: `EnvupError`."""
    import subprocess

    if not places:
        return
    line = ("setsid", "--fork", "sh", "-c", _SYNC, "sh", *map(str, places))
    null = subprocess.DEVNULL
    done = subprocess.run(line, stdin=null, stdout=null, stderr=null, cwd="/", check=False)
    if done.returncode:
        raise EnvupError(f"the layer {places[0].name} holds until the next boot alone: nothing brings it to the disk")


def copy(source: Path, target: Path) -> None:
    """Copy a file or a tree, of whichever of the machine's users. Errors: `EnvupError`."""
    line = (*programs.as_owner(), "cp", "-a", "--reflink=auto", "--", str(source), str(target))
    programs.run(line, f"cannot copy {source}")


def merge(trees: Sequence[Path], target: Path, image: Path) -> None:
    """Make one tree of several, the lowest first, to lie over an image's. Errors: `EnvupError`."""
    line = programs.program("merging", str(target), str(image), *map(str, trees))
    programs.run((*programs.as_owner(), *line), f"cannot merge what is below {trees[-1]}")


def _size(path: Path) -> int:
    """Bytes on the disk. Errors: `EnvupError`."""
    import subprocess

    line = (*programs.as_owner(), "du", "--summarize", "--block-size=1", "--", str(path))
    done = subprocess.run(line, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise EnvupError(f"cannot tell the size of {path}", details=done.stderr.strip())
    return int(done.stdout.split()[0])
