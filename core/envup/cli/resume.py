"""`env resume`: thaw suspended machines."""

from __future__ import annotations

from envup.cli.acting import act
from envup.cli.options import MACHINES, Arguments

OPTIONS = ()
ARGUMENTS = (MACHINES,)


def run(arguments: Arguments) -> int:
    """Thaw machines, those that others depend on first."""
    return act(arguments, lambda engine: engine.plan_down(arguments.machine, "resume"), idle="nothing is suspended")
