"""`env validate`: all problems of the Envfile at once."""

from __future__ import annotations

from envup.cli.answer import print_json, print_lines
from envup.cli.opening import project_of
from envup.cli.options import Arguments
from envup.errors import EnvfileError

OPTIONS = ()
ARGUMENTS = ()


def run(arguments: Arguments) -> int:
    """Print `FILE: ok`, or every problem with its position; 2 when there is one."""
    project = project_of(arguments)
    try:
        environment = project.environment()
    except EnvfileError as error:
        if not arguments.json:
            raise
        keys = ("file", "line", "column", "path", "message")
        problems = [{key: getattr(problem, key) for key in keys} for problem in error.problems]
        print_json({"file": str(project.file), "ok": False, "problems": problems})
        return error.code
    if arguments.json:
        print_json({"file": str(project.file), "ok": True, "problems": []})
    elif not arguments.quiet:
        print_lines([f"{environment.file}: ok"])
    return 0
