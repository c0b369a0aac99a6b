"""Named states of machines: what there is, and plans that take, restore and delete them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from envup.errors import RefusedError, UsageError
from envup.model import Environment
from envup.observe import Seen
from envup.plan import Action, Plan, action_id, in_order
from envup.planner import Knowledge
from envup.provider import Provider, Snapshot, Snapshots

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


def require(kept: Kept, verb: str, name: str) -> None:
    """Errors: `UsageError` where a name cannot be one, is taken when it is to be given, or unknown when it is to be
    used; nothing was changed."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"'{name}' cannot be the name of a snapshot",
            hint="use letters, digits, dots, dashes and underscores, at most 63, a letter or digit first",
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
    those that go back, the ones that did not."""
    parts = [_Part(environment, seen, {one.name: one for one in kept[machine]}, verb, name, machine)
             for machine, seen in machines.items()
             if verb != "delete" or any(one.name == name for one in kept[machine])]  # fmt: skip
    frozen = [part for part in parts if part.runs and known.can(part.provider, "suspend")]
    pauses = [part.action("suspend") for part in frozen] if len(parts) > 1 and verb != "delete" else []
    after = tuple(action.id for action in pauses)
    actions = [*pauses, *(action for part in parts for action in part.actions(after))]
    if pauses and verb == "snapshot":
        actions += [part.action("resume", last=True) for part in frozen]
    elif pauses:
        actions += [part.action("resume", last=True, unless=part.action(verb).id) for part in frozen]
    asks = [ask for part in parts for ask in part.asks]
    notes = ["mounts are no part of a snapshot"] if verb == "snapshot" and _has_mounts(environment, machines) else []
    return Plan(title, known.environment, in_order(actions), tuple(notes), tuple(asks))


def _has_mounts(environment: Environment | None, machines: Mapping[str, Seen]) -> bool:
    return environment is not None and any(spec.mounts for spec in environment.machines if spec.name in machines)


class _Part:
    """The part of a plan that concerns one machine."""

    def __init__(
        self,
        environment: Environment | None,
        seen: Seen,
        snapshots: Mapping[str, Snapshot],
        verb: str,
        name: str,
        machine: str,
    ) -> None:
        self._verb, self._name, self._machine = verb, name, machine
        self._snapshot = snapshots.get(name)
        self._spec = environment.machine(machine) if environment else None
        self.provider = seen.provider
        self.runs = seen.instance.state == "running"
        self._is_up = seen.instance.state in ("running", "suspended")

    def action(self, verb: str, *, last: bool = False, unless: str = "") -> Action:
        """One that comes before or behind the others."""
        cause = "goes on" if last else "stands still meanwhile"
        name = self._machine
        return Action(action_id(name, verb), name, verb, self.provider, cause, "live", last=last, unless=unless)

    def actions(self, after: tuple[str, ...]) -> list[Action]:
        """What is done once those in `after` are. A machine that is up when it goes back to files alone comes up again,
        where the Envfile says how."""
        touches = "restart" if self._verb == "restore" else ""
        found = [self._one(self._verb, "was asked for", touches, after, self._name)]
        if self._verb != "restore" or self._snapshot is None or self._spec is None:
            return found
        if not self._snapshot.memory and self._is_up:
            found.append(self._one("start", "ran before", "restart", (found[-1].id,)))
        if self._spec.ready and (self._snapshot.memory or self._is_up):
            found.append(self._one("ready", "was restored", "", (found[-1].id,)))
        return found

    @property
    def asks(self) -> list[str]:
        """What the user must agree to."""
        if self._verb != "restore":
            return []
        return [f"machine '{self._machine}' would go back to snapshot '{self._name}', losing what it is now"]

    def _one(self, verb: str, cause: str, touches: str, after: tuple[str, ...], detail: str = "") -> Action:
        return Action(action_id(self._machine, verb), self._machine, verb, self.provider, cause, touches, after, detail)
