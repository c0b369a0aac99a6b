"""What `ProxyCommand` starts: `python -P -m envup.ssh [--home=ENVUP_HOME] DIRECTORY MACHINE`."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main(arguments: list[str]) -> int:
    """Serve one connection to its end; 1 where the machine cannot be reached."""
    if arguments[0].startswith("--home="):
        os.environ["ENVUP_HOME"] = arguments.pop(0).partition("=")[2]
    from envup.errors import EnvupError

    try:
        return _serve(Path(arguments[0]), arguments[1])
    except EnvupError as error:
        lines = [f"envup: {error.brief}", *error.details.splitlines(), *filter(None, [error.hint])]
        sys.stderr.write("\n  ".join(lines) + "\n")
        return 1


def _serve(directory: Path, machine: str) -> int:
    from envup.errors import EnvupError
    from envup.project import Project
    from envup.ssh import keys

    project = Project(directory, None)
    located = project.locate(machine)
    try:
        from envup.ssh import serving
    except ModuleNotFoundError as error:
        raise EnvupError(f"the package {error.name} is missing", hint="pip install 'envup[ssh]'") from error
    return serving.serve(located, keys.of(project.home, project.identity.id))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
