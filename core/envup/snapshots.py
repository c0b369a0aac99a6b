"""Named states of machines: what there is, and plans that take, restore and delete them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from envup.errors import EnvupError, RefusedError, UsageError
from envup.model import Environment
from envup.observe import Seen
from envup.plan import Action, Plan, action_id, in_order
from envup.planner import Knowledge, ordered_by_dependencies
from envup.provider import Provider, Snapshot, Snapshots
from envup.restoring import Return

if TYPE_CHECKING:
    from envup.apply import Report

Kept = Mapping[str, Sequence[Snapshot]]
"""Snapshots by machine."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


def ask(providers: Callable[[str], Provider], machines: Mapping[str, Seen]) -> Kept:
    """The snapshots of machines whose providers have the ability, those of others being none. Errors: `UsageError`
    for a machine that is broken."""
    kept: dict[str, Sequence[Snapshot]] = {}
    for machine, seen in machines.items():
        provider = providers(seen.provider)
        if seen.instance.state == "broken":
            raise UsageError(
                f"machine '{machine}' is broken: {seen.instance.reason}", hint=f"`env destroy {machine}` removes it"
            )
        kept[machine] = provider.snapshots(seen.instance) if isinstance(provider, Snapshots) else ()
    return kept


def require(kept: Kept, verb: str, name: str, machines: Collection[str]) -> None:
    """Errors: `UsageError` where a name cannot be one, is taken, or one of `machines`, when it is to be given, or
    unknown when it is to be used; nothing was changed."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"'{name}' cannot be the name of a snapshot",
            hint="use letters, digits, dots, dashes and underscores, at most 63, a letter or digit first",
        )
    if verb == "snapshot" and name in machines:
        raise UsageError(
            f"'{name}' is a machine, so no snapshot is named so",
            hint=f"`env snapshot create {name} NAME` keeps that machine, `env snapshot create NAME` all",
        )
    if not kept:
        raise UsageError("no machine of this environment exists", hint="`env up` makes it")
    having = [machine for machine, snapshots in kept.items() if any(one.name == name for one in snapshots)]
    if verb == "snapshot" and having:
        raise UsageError(
            f"machine '{having[0]}' has a snapshot '{name}' already",
            hint=f"`env snapshot delete {having[0]} {name}` removes it",
        )
    lacking = [machine for machine in kept if machine not in having]
    if verb == "restore" and having and lacking:
        raise RefusedError(
            f"machine '{lacking[0]}' has no snapshot '{name}'", hint=f"`env snapshot restore {having[0]} {name}` is one"
        )
    if verb != "snapshot" and not having:
        known = sorted({one.name for snapshots in kept.values() for one in snapshots})
        raise UsageError(
            f"there is no snapshot '{name}'", hint=f"there are {', '.join(known)}" if known else "there are none"
        )


def require_able(providers: Callable[[str], Provider], machines: Mapping[str, Seen]) -> None:
    """Errors: `RefusedError` where no snapshot can be taken of one of the machines; nothing was changed."""
    for seen in machines.values():
        provider = providers(seen.provider)
        assert isinstance(provider, Snapshots), "asked before"
        try:
            provider.require_snapshots(seen.instance)
        except EnvupError as error:
            raise RefusedError(error.brief, details=error.details, hint=error.hint) from error


def plan(
    environment: Environment | None,
    title: str,
    known: Knowledge,
    machines: Mapping[str, Seen],
    kept: Kept,
    verb: str,
    name: str,
) -> Plan:
    """Take, restore or delete (`verb`: `snapshot`, `restore`, `delete`) the snapshot `name` of these machines. Several
    that run stand still meanwhile, so that their states agree with each other, and go on at the end in any case; of
    those that go back, the ones that did not. For `restore`, the steps of `known` are those of the snapshot."""
    parts = [_Part(environment, known, seen, {one.name: one for one in kept[machine]}, verb, name, machine)
             for machine, seen in machines.items()
             if verb != "delete" or any(one.name == name for one in kept[machine])]  # fmt: skip
    several = len(parts) > 1 and verb != "delete"
    frozen = [(part, way) for part in parts if several and (way := part.stillness(known))]
    pauses = [part.action(way) for part, way in frozen]
    after = tuple(action.id for action in pauses)
    actions = [*pauses, *(action for part in parts for action in part.actions(after))]
    if environment is not None:
        actions = ordered_by_dependencies(environment, actions, probe=False)
    if pauses and verb == "snapshot":
        actions += [part.action("resume", last=True) for part, _way in frozen]
    elif pauses:
        actions += [part.action("resume", last=True, unless=part.action(verb).id) for part, _way in frozen]
    asks = [ask for part in parts for ask in part.asks]
    notes = [note for part in parts for note in part.notes]
    if verb == "snapshot" and _has_mounts(environment, machines):
        notes.append("mounts are no part of a snapshot")
    return Plan(title, known.environment, in_order(actions), tuple(notes), tuple(asks))


def take_back(plan: Plan, report: Report) -> Plan:
    """What removes the snapshots that a plan has taken where it has not taken all."""
    takes = [action for action in plan.actions if action.verb == "snapshot"]
    taken = [action for action in takes if action.id not in report.failed and action.id not in report.skipped]
    removals = [
        Action(
            action_id(action.machine, "delete"),
            action.machine,
            "delete",
            action.provider,
            "not all could be taken",
            detail=action.detail,
            last=True,
        )
        for action in (taken if len(taken) < len(takes) else ())
    ]
    return Plan(plan.name, plan.environment, tuple(removals))


def _has_mounts(environment: Environment | None, machines: Mapping[str, Seen]) -> bool:
    return environment is not None and any(spec.mounts for spec in environment.machines if spec.name in machines)


class _Part:
    """The part of a plan that concerns one machine."""

    def __init__(
        self,
        environment: Environment | None,
        known: Knowledge,
        seen: Seen,
        snapshots: Mapping[str, Snapshot],
        verb: str,
        name: str,
        machine: str,
    ) -> None:
        self._verb, self._name, self._machine = verb, name, machine
        self.provider = seen.provider
        self.runs = seen.instance.state == "running"
        self._return = Return(environment, known, seen, snapshots[name]) if verb == "restore" else None

    def stillness(self, known: Knowledge) -> str:
        """The verb that has a machine which runs stand still: the one that a crash ends by itself, where there is one.
        Nothing where it does not run or its provider can do neither."""
        ways = ("pause", "suspend") if self.runs else ()
        return next((way for way in ways if known.can(self.provider, way)), "")

    def action(self, verb: str, *, last: bool = False, unless: str = "") -> Action:
        """One that comes before or behind the others."""
        cause = "goes on" if last else "stands still meanwhile"
        name = self._machine
        detail = self._name if self._verb == "snapshot" and not last else ""
        return Action(
            action_id(name, verb), name, verb, self.provider, cause, "live", detail=detail, last=last, unless=unless
        )

    def actions(self, after: tuple[str, ...]) -> list[Action]:
        """What is done once those in `after` are."""
        touches = "restart" if self._return and self._return.ran else ""
        one = Action(
            action_id(self._machine, self._verb),
            self._machine,
            self._verb,
            self.provider,
            "was asked for",
            touches,
            after,
            self._name,
        )
        return [one, *(self._return.actions(one) if self._return else ())]

    @property
    def notes(self) -> list[str]:
        """What the user may not expect."""
        return self._return.notes() if self._return else []

    @property
    def asks(self) -> list[str]:
        """What the user must agree to."""
        if self._verb != "restore":
            return []
        return [f"machine '{self._machine}' would go back to snapshot '{self._name}', losing what it is now"]
