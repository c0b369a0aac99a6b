"""`env restart`: stop machines and bring them up again, as the Envfile is now."""

from __future__ import annotations

from envup.cli.acting import act
from envup.cli.consent import TRUST
from envup.cli.options import MACHINES, Arguments
from envup.cli.stop import GRACE
from envup.planner import Wish

OPTIONS = (GRACE, TRUST)
ARGUMENTS = (MACHINES,)


def run(arguments: Arguments) -> int:
    """Restart machines."""
    wish = Wish(machines=tuple(arguments.machine), restart=True)
    return act(arguments, lambda engine: engine.plan_up(wish), make=True, grace=arguments.grace)
