"""`env destroy`: remove machines and all that was made for them."""

from __future__ import annotations

from envup.cli.acting import act
from envup.cli.options import MACHINES, Arguments

OPTIONS = ()
ARGUMENTS = (MACHINES,)
DETAILS = "Works also where the Envfile is broken or gone. Asks on a terminal; elsewhere it needs --yes."


def run(arguments: Arguments) -> int:
    """Destroy machines, those that depend on others first."""
    return act(
        arguments,
        lambda engine: engine.plan_down(arguments.machine, "destroy"),
        idle="there is nothing to destroy",
    )
