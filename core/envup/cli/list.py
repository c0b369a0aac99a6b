"""`env list`: every environment of this user on this host, and where it lives."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from envup.cli.answer import print_json, print_lines, style_of
from envup.cli.inventory import instances, whole_host
from envup.cli.options import Arguments
from envup.project import Project
from envup.provider import Instance, Provider
from envup.report.text import clean, table

OPTIONS = ()
ARGUMENTS = ()


def run(arguments: Arguments) -> int:
    """Print environments on record or with a machine in a backend; 1 when a backend could not be asked."""
    project = whole_host()
    found, problems = instances(project)
    environments = _environments(project, found)
    if arguments.json:
        print_json({"environments": environments, "problems": [problem.brief for problem in problems]})
    else:
        print_lines(_lines(arguments, environments))
        for problem in problems:
            sys.stderr.write(f"warning: {clean(problem.brief)}\n")
    return 1 if problems else 0


def _environments(project: Project, found: list[tuple[Provider, Instance]]) -> list[dict[str, Any]]:
    known = {row[0]: _document(*row[:3]) for row in project.state.environments()}
    for provider, instance in found:
        identity, directory = instance.labels.get("envup.environment", ""), instance.labels.get("envup.project", "")
        environment = known.setdefault(identity, _document(identity, Path(directory).name, directory))
        environment["machines"].append(
            {"name": instance.machine, "provider": provider.name, "state": instance.state, "reason": instance.reason}
        )
    return list(known.values())


def _document(identity: str, name: str, directory: str) -> dict[str, Any]:
    return {
        "id": identity,
        "name": name,
        "directory": directory,
        "directory_exists": Path(directory).is_dir(),
        "machines": [],
    }


def _lines(arguments: Arguments, environments: list[dict[str, Any]]) -> list[str]:
    if not environments:
        return ["there is no environment"]
    style = style_of(arguments)
    rows = [["ID", "NAME", "MACHINES", "DIRECTORY"], *map(_row, environments)]
    return table(rows, lambda head: style.paint("bold", head))


def _row(environment: dict[str, Any]) -> list[str]:
    machines = ", ".join(f"{machine['name']} {machine['state']}" for machine in environment["machines"])
    place = environment["directory"] + ("" if environment["directory_exists"] else " (gone)")
    return [clean(cell) or "-" for cell in (environment["id"], environment["name"], machines, place)]
