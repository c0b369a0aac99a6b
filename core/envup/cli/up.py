"""`env up`: make the machines what the Envfile says."""

from __future__ import annotations

from envup.cli.acting import act
from envup.cli.options import MACHINES, Arguments, Option
from envup.planner import Wish

OPTIONS = (
    Option("--provider", "put every machine on this provider", value="NAME"),
    Option("--recreate", "make the machines anew, and agree to losing what is in them"),
    Option("--remove-orphans", "destroy machines that are no longer in the Envfile"),
    Option("--no-provision", "create and start only, run no step"),
)
ARGUMENTS = (MACHINES,)


def run(arguments: Arguments) -> int:
    """Bring machines up, with those they depend on."""
    wish = wish_of(arguments)
    return act(
        arguments,
        lambda engine: engine.plan_up(wish, provider=arguments.provider),
        make=True,
        asks=lambda plan: () if arguments.recreate else plan.asks,
        idle="everything is as the Envfile says",
    )


def wish_of(arguments: Arguments) -> Wish:
    """What the options of `up`, which are those of `plan` as well, ask for."""
    return Wish(
        machines=tuple(arguments.machine),
        provision=not arguments.no_provision,
        recreate=arguments.recreate,
        remove_orphans=arguments.remove_orphans,
    )
