"""A lock file put to use: images are taken as it has them, and what does not fit is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from envup.errors import UsageError
from envup.events import Emit, Event
from envup.locking.current import current, named
from envup.locking.difference import differences
from envup.locking.document import Lock
from envup.locking.reading import read
from envup.model import Environment, MachineSpec
from envup.plugins import Host
from envup.value import replace


class Holding:
    """The lock file at `path` in one command. `emit` gets one warning, and another where what does not fit
    changes meanwhile."""

    def __init__(self, path: Path, plugins: Host, emit: Emit) -> None:
        self._path, self._plugins, self._emit = path, plugins, emit
        self._told: tuple[str, ...] = ()

    def hold(self, environment: Environment, declared: Environment | None, *, strict: bool = False) -> Environment:
        """`environment` with its images pinned as the lock file has them; as it is where there is none. `declared` is
        what the Envfile says, whatever the command puts over it; None: nobody asks whether that fits. `strict` refuses
        what does not fit, which else is a warning. Errors: `EnvfileError` for a lock file that does not hold,
        `UsageError`."""
        lock = read(self._path)
        if lock is None:
            if strict:
                raise UsageError(f"there is no lock file {self._path}", hint="`env lock` writes it")
            return environment
        found = differences(lock, current(declared, self._plugins, lock)) if declared else ()
        if found and strict:
            brief = f"{self._path.name} does not fit; nothing was changed"
            raise UsageError(brief, details="\n".join(found), hint="`env lock` makes it fit")
        if found and found != self._told:
            self._told = found
            self._emit(Event("warning", text=f"{self._path.name}: {_in_a_line(found)}; `env lock` makes it fit"))
        return pinned(environment, lock, self._plugins)


def _in_a_line(found: Sequence[str]) -> str:
    more = len(found) - 1
    return f"{found[0]}, and {more} more that `env lock --check` lists" if more else found[0]


def pinned(environment: Environment, lock: Lock, plugins: Host) -> Environment:
    """`environment` with the pins of those images whose reference is still what was locked."""
    known = named(environment, plugins, lock)

    def with_pin(spec: MachineSpec) -> MachineSpec:
        place, reference = known[spec.name]
        locked = lock.images.get(place)
        if locked is None or locked.reference != reference:
            return spec
        pin = locked.pin and replace(locked.pin, title=place[1])
        return replace(spec, image=replace(spec.image, pin=pin))

    return replace(environment, machines=tuple(map(with_pin, environment.machines)))
