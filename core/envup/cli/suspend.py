"""`env suspend`: freeze running machines, so that they use no processor until they are resumed."""

from __future__ import annotations

from envup.cli.acting import act
from envup.cli.options import MACHINES, Arguments

OPTIONS = ()
ARGUMENTS = (MACHINES,)
DETAILS = "Memory stays in use. `env resume` or `env up` goes on where the machines stood."


def run(arguments: Arguments) -> int:
    """Freeze machines, those that depend on others first."""
    return act(arguments, lambda engine: engine.plan_down(arguments.machine, "suspend"), idle="nothing is running")
