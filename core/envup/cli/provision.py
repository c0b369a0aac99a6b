"""`env provision`: run steps again on machines that run."""

from __future__ import annotations

from envup.cli.acting import act
from envup.cli.consent import TRUST
from envup.cli.options import MACHINES, Arguments, Option
from envup.errors import UsageError

OPTIONS = (
    Option("--only", "run this step alone, also one with `run: never`", value="STEP"),
    Option("--from", "run this step and those behind it", value="STEP"),
    TRUST,
)
ARGUMENTS = (MACHINES,)


def run(arguments: Arguments) -> int:
    """Run every step of the machines again, one, or those from one on."""
    begin = getattr(arguments, "from")
    if begin and arguments.only:
        raise UsageError("provision: --only and --from exclude each other")
    return act(
        arguments,
        lambda engine: engine.plan_provision(arguments.machine, arguments.only, begin),
        make=True,
        idle="there is no step to run",
    )
