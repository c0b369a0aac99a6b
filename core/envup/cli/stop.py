"""`env stop`: end machines gracefully and keep what is in them."""

from __future__ import annotations

from envup.cli.acting import act
from envup.cli.options import MACHINES, Arguments, Option, seconds

GRACE = Option(
    "--grace",
    "how long programs may take to end before they are killed",
    value="SECONDS",
    default=10.0,
    convert=seconds,
)
OPTIONS = (GRACE,)
ARGUMENTS = (MACHINES,)


def run(arguments: Arguments) -> int:
    """Stop machines, those that depend on others first."""
    return act(
        arguments,
        lambda engine: engine.plan_down(arguments.machine, "stop"),
        idle="nothing is running",
        grace=arguments.grace,
    )
