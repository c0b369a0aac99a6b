"""`env destroy`: remove machines and all that was made for them."""

from __future__ import annotations

from collections.abc import Sequence

from envup.cli.acting import act
from envup.cli.options import MACHINES, Arguments
from envup.plan import Plan

OPTIONS = ()
ARGUMENTS = (MACHINES,)
DETAILS = "Works also where the Envfile is broken or gone. Asks on a terminal; elsewhere it needs --yes."


def run(arguments: Arguments) -> int:
    """Destroy machines, those that depend on others first."""
    return act(
        arguments,
        lambda engine: engine.plan_down(arguments.machine, "destroy"),
        asks=_questions,
        idle="there is nothing to destroy",
    )


def _questions(plan: Plan) -> Sequence[str]:
    names = dict.fromkeys(action.machine for action in plan.actions)
    return [f"machine '{name}' will be destroyed, with all that is in it" for name in names]
