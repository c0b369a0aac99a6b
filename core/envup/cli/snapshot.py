"""`env snapshot`: keep the state of machines under a name, and go back to it."""

from __future__ import annotations

import time
from typing import Any

from envup.cli.acting import act
from envup.cli.answer import print_json, print_lines, style_of
from envup.cli.consent import TRUST
from envup.cli.opening import project_of
from envup.cli.options import Argument, Arguments
from envup.cli.status import warn
from envup.errors import EnvupError, RefusedError, UsageError

OPTIONS = (TRUST,)
ARGUMENTS = (
    Argument("ACTION", "what to do", choices=("create", "list", "restore", "delete")),
    Argument("MACHINE", "name of a machine; all when it is left out", count="?", kind="machine"),
    Argument("NAME", "name of the snapshot; not with list", count="?"),
)
DETAILS = """
Where the provider can, memory is part of the snapshot of a machine that runs, which goes on from there when it is
restored; any other machine that ran is started again, with its steps that run always. Mounts are no part of it. All
machines of an environment stand still while they are taken together. `restore` asks before it loses what machines are
now, and keeps other snapshots; `env destroy` removes all of them."""

_VERBS = {"create": "snapshot", "restore": "restore", "delete": "delete"}


def run(arguments: Arguments) -> int:
    """Take, list, restore or delete snapshots."""
    if arguments.action == "list":
        return _list(arguments)
    machine, name = arguments.machine, arguments.name
    if name is None:
        machine, name = None, machine
    if name is None:
        raise UsageError("snapshot: NAME is missing", hint="`env help snapshot` explains it")
    verb, machines = _VERBS[arguments.action], [machine] if machine else []
    return act(arguments, lambda engine: engine.plan_snapshots(machines, verb, name))


def _list(arguments: Arguments) -> int:
    if arguments.name:
        raise UsageError(f"snapshot list: '{arguments.name}' is one argument too many")
    found, problems = _found(arguments)
    if arguments.json:
        print_json({"snapshots": found, "problems": problems})
    else:
        warn({"problems": problems})
        print_lines(_lines(arguments, found))
    return int(bool(problems))


def _found(arguments: Arguments) -> tuple[list[dict[str, Any]], list[str]]:
    """(documents, what is wrong). Errors: `UsageError` for a machine that is unknown, `RefusedError` for one whose
    provider has no snapshots."""
    from envup.provider import Snapshots

    project = project_of(arguments)
    observed = project.observe()
    wanted = arguments.machine
    problems = [error.brief for error in observed.silent.values()]
    if wanted and wanted not in observed.machines and not problems:
        raise UsageError(f"there is no machine '{wanted}'", hint="`env status` shows those that there are")
    found: list[dict[str, Any]] = []
    for machine, seen in sorted(observed.machines.items()):
        provider = project.provider(seen.provider)
        if wanted not in (None, machine) or seen.instance.state == "broken":
            continue
        if isinstance(provider, Snapshots):
            try:
                found += [_document(machine, one) for one in provider.snapshots(seen.instance)]
            except EnvupError as error:
                problems.append(f"machine '{machine}': {error.brief}")
        elif wanted:
            raise RefusedError(f"machine '{machine}': provider {provider.name} cannot take snapshots of machines")
    return found, problems


def _document(machine: str, snapshot: Any) -> dict[str, Any]:
    names = ("name", "created", "memory")
    return {"machine": machine} | {field: getattr(snapshot, field) for field in names}


def _lines(arguments: Arguments, found: list[dict[str, Any]]) -> list[str]:
    from envup.report.text import clean, duration, table

    if not found:
        return ["there is no snapshot"]
    style, now = style_of(arguments), time.time()
    rows = [
        [
            clean(one["machine"]),
            clean(one["name"]),
            f"{duration(max(0.0, now - one['created']))} ago",
            "yes" if one["memory"] else "no",
        ]
        for one in found
    ]
    return table([["MACHINE", "NAME", "TAKEN", "MEMORY"], *rows], lambda text: style.paint("bold", text))
