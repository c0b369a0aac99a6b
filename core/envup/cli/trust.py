"""`env trust`: what the Envfile asks for that reaches beyond its machines, and what of it was agreed to."""

from __future__ import annotations

from typing import Any

from envup.cli.answer import print_json, print_lines, style_of
from envup.cli.opening import project_of
from envup.cli.options import Arguments, Option
from envup.project import Project
from envup.report.text import clean, table

OPTIONS = (Option("--withdraw", "take back all that was agreed to here, also where the Envfile is broken"),)
ARGUMENTS = ()
DETAILS = """
Mounts that lead out of the project, privileged options, builds of a Dockerfile and steps that run on the host need your
consent once; it is asked for by the first command that carries them out, and kept for what they are now. --trust agrees
to them in scripts."""


def run(arguments: Arguments) -> int:
    """Show it, or take it back."""
    project = project_of(arguments)
    if arguments.withdraw:
        return _withdraw(project, arguments)
    demands = _demands(project)
    if arguments.json:
        print_json({"directory": str(project.directory), "demands": demands})
    else:
        print_lines(_lines(arguments, demands))
    return 0


def _withdraw(project: Project, arguments: Arguments) -> int:
    count = project.agreements.withdraw()
    if arguments.json:
        print_json({"directory": str(project.directory), "withdrawn": count})
    elif not arguments.quiet:
        print_lines([f"{count} withdrawn; what runs goes on as it is"])
    return 0


def _demands(project: Project) -> list[dict[str, Any]]:
    trust = project.trust(project.environment())
    demands = trust.everything()
    pending = set(trust.pending(demands))
    return [{**demand.as_json(), "agreed": demand not in pending} for demand in demands]


def _lines(arguments: Arguments, demands: list[dict[str, Any]]) -> list[str]:
    if not demands:
        return ["the Envfile asks for nothing that reaches beyond its machines"]
    rows = [["agreed" if one["agreed"] else "pending", clean(one["machine"]), clean(one["text"])] for one in demands]
    return table([["CONSENT", "MACHINE", "WHAT"], *rows], lambda head: style_of(arguments).paint("bold", head))
