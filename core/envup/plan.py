"""A plan: the graph of actions that a command would carry out, each with its cause. Printed by `env plan`, run by
`apply`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from envup.value import Value

if TYPE_CHECKING:
    from envup.trust import Demand

VERBS = (
    "image",
    "destroy",
    "create",
    "stop",
    "suspend",
    "pause",
    "snapshot",
    "restore",
    "delete",
    "start",
    "resume",
    "update",
    "provision",
    "ready",
    "forget",
)
"""What an action can do, in the order in which one machine passes through them."""


class Action(Value):
    """One node. `id` is `MACHINE/VERB`, with `:N` behind it for the N-th step; `cause` says why in words; `touches` is
    `live`, `restart`, `recreate`, `provision` or empty where nothing existing is touched; `after` are ids that must
    have succeeded; `provider` carries it out; `step` indexes `MachineSpec.steps`; `reset` forgets the record of this
    step and those behind it first; `again` says that every `up` does it, whatever there is; `last` is done when all
    others are, whatever became of them, but not where the action `unless` has succeeded; what waits for one that is
    `lenient` waits for its end, not for its success; `layer` is the key of the one that a new machine begins with,
    `origin` the snapshot, as `MACHINE/SNAPSHOT`."""

    id: str
    machine: str
    verb: str
    provider: str
    cause: str
    touches: str = ""
    after: tuple[str, ...] = ()
    detail: str = ""
    step: int = -1
    reset: bool = False
    again: bool = False
    last: bool = False
    unless: str = ""
    lenient: bool = False
    layer: str = ""
    origin: str = ""

    def as_json(self) -> dict[str, Any]:
        """The documented fields, for `env plan --json`."""
        names = ("id", "machine", "verb", "provider", "cause", "touches", "detail", "layer", "origin")
        return {name: getattr(self, name) for name in names} | {"after": list(self.after)}


class Plan(Value):
    """Actions in an order that respects `after`. `notes` tell what is seen and left alone; `asks` are the questions to
    which the user must agree before the plan is applied, `consent` what reaches beyond the machines and was not agreed
    to yet."""

    name: str
    environment: str
    actions: tuple[Action, ...] = ()
    notes: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()
    consent: tuple[Demand, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.actions)

    @property
    def pending(self) -> bool:
        """Whether something is not as the Envfile says: what every `up` does, and asking whether a machine is ready,
        does not count."""
        return any(not action.again and action.verb != "ready" for action in self.actions)

    def as_json(self) -> dict[str, Any]:
        """The document that `env plan --json` prints."""
        return {
            "environment": {"id": self.environment, "name": self.name},
            "actions": [action.as_json() for action in self.actions],
            "notes": list(self.notes),
            "asks": list(self.asks),
            "consent": [demand.as_json() for demand in self.consent],
            "changes": self.changes,
            "pending": self.pending,
        }


def action_id(machine: str, verb: str, step: int = -1) -> str:
    """The id of an action; steps count from 1 in it."""
    return f"{machine}/{verb}" if step < 0 else f"{machine}/{verb}:{step + 1}"


def in_order(actions: Iterable[Action]) -> tuple[Action, ...]:
    """The same actions, each behind those it waits for, otherwise in the given order; waits for what is not in the
    plan are dropped. The graph has no cycle: the Envfile was checked for one."""
    waiting = {action.id: action for action in actions}
    done: dict[str, Action] = {}

    def place(action: Action) -> None:
        for name in action.after:
            if name in waiting and name not in done:
                place(waiting[name])
        done[action.id] = action

    for action in tuple(waiting.values()):
        if action.id not in done:
            place(action)
    return tuple(done.values())
