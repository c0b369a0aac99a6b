"""`env up`: make the machines what the Envfile says."""

from __future__ import annotations

from envup.cli.acting import act
from envup.cli.consent import TRUST
from envup.cli.options import MACHINES, Arguments, Option
from envup.errors import UsageError
from envup.planner import Wish

CACHE = (
    Option("--no-cache", "run all steps of machines that are made, whatever layers there are"),
    Option(
        "--refresh",
        "run this step of machines that are made and those behind it, whatever layers there are",
        value="STEP",
        many=True,
    ),
)
BEGIN = Option(
    "--from",
    "begin the named machines, which are not there yet, with a snapshot of another",
    value="[MACHINE/]SNAPSHOT",
)
LOCKED = Option("--locked", "refuse where something is not as the lock file says, or there is none")
OPTIONS = (
    Option("--provider", "put every machine on this provider", value="NAME"),
    Option("--recreate", "make the machines anew, and agree to losing what is in them"),
    Option("--remove-orphans", "destroy machines that are no longer in the Envfile"),
    Option("--no-provision", "create and start only, run no step"),
    *CACHE,
    BEGIN,
    LOCKED,
    TRUST,
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
        idle=idle(arguments),
    )


def wish_of(arguments: Arguments) -> Wish:
    """What the options of `up`, which are those of `plan` as well, ask for."""
    begin = getattr(arguments, "from") or ""
    if begin and (arguments.no_cache or arguments.refresh or arguments.recreate):
        raise UsageError(f"{arguments.verb}: --from goes with none of --no-cache, --refresh and --recreate")
    return Wish(
        machines=tuple(arguments.machine),
        provision=not arguments.no_provision,
        recreate=arguments.recreate,
        remove_orphans=arguments.remove_orphans,
        cache=not arguments.no_cache,
        refresh=frozenset(arguments.refresh),
        begin=begin,
        locked=arguments.locked,
    )


def idle(arguments: Arguments) -> str:
    """What to say where nothing is to be done."""
    return f"everything{' but for steps' if arguments.no_provision else ''} is as the Envfile says"
