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


class Change(Value):
    """What differs: dotted `keys`, why in words, and the strongest measure it needs (one of `LEVELS`)."""

    keys: tuple[str, ...]
    cause: str
    level: str


SAME = Change((), "", "")


def of_instance(spec: MachineSpec, seen: Seen, record: MachineRecord | None, touches: Touches, salt: str) -> Change:
    """The difference between an instance and its declaration."""
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


def _misfit(record: StepRecord, wanted: Sequence[Step], salt: str) -> str:
    """Why a step that ran is not one that is wanted now, or nothing."""
    if record.position >= len(wanted):
        return f"step {record.name!r} was removed"
    step = wanted[record.position]
    return f"step {step.name!r} changed after it ran" if specs.definition(step, salt) != record.definition else ""


def of_steps(
    steps: Sequence[Step], records: Sequence[StepRecord], stale: frozenset[int], salt: str, *, fresh: bool
) -> StepsLeft:
    """The steps still to run, given what succeeded on this instance. `stale` are positions whose files changed;
    `fresh` is an instance on which nothing has run."""
    wanted = once(steps)
    done, cause, rebuild = 0, "has not run yet", ""
    known = [] if fresh else [record for place, record in enumerate(records) if record.position == place]
    for record in known:
        rebuild = rebuild or _misfit(record, wanted, salt)
    while done < min(len(known), len(wanted)) and done not in stale and not rebuild:
        done += 1
    if done in stale and not rebuild:
        cause = f"a file that step {wanted[done].name!r} reads changed"
    remaining = {step.index for step in wanted[done:]}
    indexes = tuple(step.index for step in steps if step.index in remaining or step.run == "always")
    causes = {index: cause if index in remaining else "runs always" for index in indexes}
    first = wanted[done].index if done < len(wanted) and not fresh and done < len(known) else -1
    return StepsLeft(indexes, causes, rebuild, first)
