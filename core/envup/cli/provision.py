"""`env provision`: run steps again on machines that run."""

from __future__ import annotations

from envup.cli.acting import act
from envup.cli.options import MACHINES, Arguments, Option

OPTIONS = (Option("--only", "run this step alone, also one with `run: never`", value="STEP"),)
ARGUMENTS = (MACHINES,)


def run(arguments: Arguments) -> int:
    """Run every step of the machines again, or one."""
    return act(
        arguments,
        lambda engine: engine.plan_provision(arguments.machine, arguments.only),
        make=True,
        idle="there is no step to run",
    )
