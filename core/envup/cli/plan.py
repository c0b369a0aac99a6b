"""`env plan`: what `env up` would do, and why."""

from __future__ import annotations

from collections.abc import Sequence

from envup.cli.answer import print_json, print_lines, style_of
from envup.cli.opening import project_of
from envup.cli.options import MACHINES, Arguments, Option
from envup.cli.up import BEGIN, CACHE, LOCKED, idle, wish_of
from envup.engine import Engine
from envup.plan import Action, Plan
from envup.report.style import Style
from envup.report.text import clean, table

OPTIONS = (
    Option("--check", "exit with 3 when something would change; steps that run always do not count"),
    Option("--provider", "put every machine on this provider", value="NAME"),
    Option("--recreate", "plan to make the machines anew"),
    Option("--remove-orphans", "plan to destroy machines that are no longer in the Envfile"),
    Option("--no-provision", "plan without steps"),
    *CACHE,
    BEGIN,
    LOCKED,
)
ARGUMENTS = (MACHINES,)

PENDING = 3
"""Exit code of `--check` when something would change."""


def run(arguments: Arguments) -> int:
    """Print the plan."""
    project = project_of(arguments)
    plan = Engine(project).plan_up(wish_of(arguments), provider=arguments.provider)
    if arguments.json:
        print_json(plan.as_json())
    elif not arguments.quiet:
        print_lines(describe(plan, idle(arguments), style_of(arguments)))
    return PENDING if arguments.check and plan.pending else 0


def describe(plan: Plan, idle: str, style: Style) -> list[str]:
    """The plan for a reader; `idle` is what an empty one says."""
    lines = [f"note: {clean(note)}" for note in plan.notes]
    if not plan.changes:
        return [*lines, f"{clean(plan.name)}: {idle}"]
    several = len({action.provider for action in plan.actions}) > 1
    rows = [["MACHINE", "PROVIDER", "ACTION", "WHY", "TOUCHES", "WAITS FOR"]]
    rows += [_row(action, action.provider * several) for action in plan.actions]
    lines += table(_without_empty_columns(rows), lambda head: style.paint("bold", head))
    lines += [f"{style.paint('yellow', 'consent')}: {clean(str(demand))}" for demand in plan.consent]
    lines += [f"{style.paint('yellow', 'asks')}: {clean(question)}" for question in plan.asks]
    return lines


def _row(action: Action, provider: str) -> list[str]:
    verb = f"{action.verb} {action.detail}" if action.detail else action.verb
    waits = ", ".join(name for name in action.after if not name.startswith(f"{action.machine}/"))
    return [clean(text) for text in (action.machine, provider, verb, action.cause, action.touches, waits)]


def _without_empty_columns(rows: Sequence[list[str]]) -> list[list[str]]:
    kept = [index for index in range(len(rows[0])) if any(row[index] for row in rows[1:])]
    return [[row[index] for index in kept] for row in rows]
