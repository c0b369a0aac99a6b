"""`env doctor`: what each provider needs on this host, what is missing, and the command that mends it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from envup.cli.answer import print_json, print_lines, style_of
from envup.cli.options import Arguments
from envup.errors import EnvupError
from envup.project import Project, told_as_bug
from envup.report.style import Style
from envup.report.text import clean

OPTIONS = ()
ARGUMENTS = ()
DETAILS = "Exits with 1 when no provider can be used. Needs no project and changes nothing."


def run(arguments: Arguments) -> int:
    """Examine all providers."""
    project = Project(Path.cwd(), None)
    found = [_examine(project, name) for name in project.plugins.providers()]
    found += [
        {"name": plugin.name, "usable": False, "problem": plugin.problem, "hint": "", "checks": []}
        for plugin in project.plugins.catalog()
        if plugin.problem and plugin.may_be("provider")
    ]
    if arguments.json:
        print_json({"providers": found})
    else:
        style = style_of(arguments)
        print_lines(line for provider in found for line in _lines(provider, style))
    return 0 if any(provider["usable"] for provider in found) else 1


def _examine(project: Project, name: str) -> dict[str, Any]:
    try:
        checks = [
            {"name": check.name, "ok": check.ok, "message": check.message, "remedy": check.remedy}
            for check in project.provider(name).doctor()
        ]
    except EnvupError as error:
        problem = f"{error.brief}: {error.details}" if error.details else error.brief
        return {"name": name, "usable": False, "problem": problem, "hint": error.hint, "checks": []}
    except Exception as error:
        return {
            "name": name,
            "usable": False,
            "problem": told_as_bug(error),
            "hint": "report it to who made it",
            "checks": [],
        }
    usable = all(check["ok"] for check in checks)
    return {"name": name, "usable": usable, "problem": "", "hint": "", "checks": checks}


def _lines(provider: dict[str, Any], style: Style) -> list[str]:
    sign = style.paint("green", style.ok) if provider["usable"] else style.paint("red", style.bad)
    word = "can be used" if provider["usable"] else "cannot be used"
    lines = [f"{sign} {style.paint('bold', provider['name'])}: {word}"]
    if provider["problem"]:
        lines.append(f"    {clean(provider['problem'])}")
    if provider["hint"]:
        lines.append(f"    to do: {clean(provider['hint'])}")
    for check in provider["checks"]:
        mark = (style.lack if check["remedy"] else style.ok) if check["ok"] else style.bad
        lines.append(f"  {mark} {clean(check['name'])}{': ' + clean(check['message']) if check['message'] else ''}")
        if check["remedy"]:
            lines.append(f"      to do: {clean(check['remedy'])}")
    return lines
