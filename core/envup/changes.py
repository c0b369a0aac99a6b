"""How far a machine as it is lies from the machine as declared, and what it takes to get there. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from envup import spec as specs
from envup.model import MachineSpec, Step
from envup.observe import Seen
from envup.state.records import MachineRecord, StepRecord
from envup.value import Value

LEVELS = ("", "live", "restart", "recreate")

Touches = Callable[[str, str], str]
"""(provider, dotted key) -> `live`, `restart`, `recreate` or empty where an instance is not concerned."""


PIN = "envup.pin"
"""The label with the digest by which a lock file knows the machine's image."""


class Change(Value):
    """What differs: dotted `keys`, why in words, and the strongest measure it needs (one of `LEVELS`)."""

    keys: tuple[str, ...]
    cause: str
    level: str


SAME = Change((), "", "")


def of_instance(spec: MachineSpec, seen: Seen, record: MachineRecord | None, touches: Touches, salt: str) -> Change:
    """The difference between an instance and its declaration, what its image is locked at included."""
    change, cause = _of_declaration(spec, seen, record, touches, salt), of_pin(spec, seen)
    if not cause or "image" in change.keys:
        return change
    return Change((*change.keys, "image"), ", ".join(filter(None, (change.cause, cause))), "recreate")


def of_pin(spec: MachineSpec, seen: Seen) -> str:
    """In words, where an instance was made from another image than the one that a declaration is locked at."""
    pin, made = spec.image.pin, seen.instance.labels.get(PIN, "")
    if pin is None or made in ("", pin.digest):
        return ""
    return f"image is locked at {_short(pin.digest)}, and the machine was made from {_short(made)}"


def _short(digest: str) -> str:
    return digest[: len("sha256:") + 12]


def _of_declaration(spec: MachineSpec, seen: Seen, record: MachineRecord | None, touches: Touches, salt: str) -> Change:
    wanted = specs.summary(spec, salt)
    if record is None or record.instance != seen.instance.id:
        if seen.instance.labels.get("envup.spec") == specs.digest(wanted) and seen.provider == spec.provider:
            return SAME
        if seen.provider != spec.provider:
            return Change(("provider",), f"provider changed from {seen.provider} to {spec.provider}", "recreate")
        return Change(("unknown",), "declared differently, and there is no record of how", "recreate")
    keys = specs.changed(record.spec, wanted)
    if not keys:
        return SAME
    level = max((_level(key, record.spec, wanted, touches) for key in keys), key=LEVELS.index)
    cause = ", ".join(specs.in_words(key, record.spec.get(key), wanted.get(key)) for key in keys)
    return Change(keys, cause, level)


def _level(key: str, old: Mapping[str, Any], new: Mapping[str, Any], touches: Touches) -> str:
    if key in ("provider", "image"):
        return "recreate"
    if key == "resources.disk":
        before, after = old.get(key), new.get(key)
        if before is None or after is None or after < before:
            return "recreate"
    return touches(new["provider"], key)


class Start(Value):
    """What a new machine begins with: the layer of that `key`, or the snapshot `origin` (`MACHINE/SNAPSHOT`), in which
    the steps of `records` have run, or the image alone where both are empty; `facts` is what its layer notes of
    each."""

    key: str = ""
    records: tuple[StepRecord, ...] = ()
    facts: tuple[Mapping[str, Any], ...] = ()
    origin: str = ""


class StepsLeft(Value):
    """Which steps an `up` runs, by index into `MachineSpec.steps`, and why. `rebuild` says why the machine would have
    to be made anew first, or is empty. `reset` is the first index whose record no longer holds, -1 for none."""

    indexes: tuple[int, ...]
    causes: Mapping[int, str]
    rebuild: str = ""
    reset: int = -1


def once(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps that are recorded when they succeed."""
    return tuple(step for step in steps if step.run == "once")


def _misfit(records: Sequence[StepRecord], wanted: Sequence[Step], salt: str) -> str:
    """Why the steps that ran are not those that are wanted now, or nothing."""
    ran, said = [record.definition for record in records], [specs.definition(step, salt) for step in wanted]
    place = next((place for place, one in enumerate(ran) if said[place : place + 1] != [one]), None)
    if place is None:
        return ""
    is_left, is_new = ran[place] in said[place:], place < len(said) and said[place] not in ran[place:]
    if is_left:
        return f"step {wanted[place].name!r} {'is new' if is_new else 'has moved'} before steps that have run"
    return (
        f"step {wanted[place].name!r} changed after it ran" if is_new else f"step {records[place].name!r} was removed"
    )


def of_steps(
    steps: Sequence[Step], records: Sequence[StepRecord], stale: Mapping[int, str], salt: str, *, fresh: bool
) -> StepsLeft:
    """The steps still to run, given what succeeded on this instance. `stale` says of positions what changed;
    `fresh` is an instance on which nothing has run."""
    wanted = once(steps)
    known = [] if fresh else [record for place, record in enumerate(records) if record.position == place]
    done, cause, rebuild = 0, "has not run yet", _misfit(known, wanted, salt)
    while done < min(len(known), len(wanted)) and done not in stale and not rebuild:
        done += 1
    if done in stale and not rebuild:
        cause = f"{stale[done]} changed"
    remaining = {step.index for step in wanted[done:]}
    indexes = tuple(step.index for step in steps if step.index in remaining or step.run == "always")
    causes = {index: cause if index in remaining else "runs always" for index in indexes}
    first = wanted[done].index if done < len(wanted) and not fresh and done < len(known) else -1
    return StepsLeft(indexes, causes, rebuild, first)
