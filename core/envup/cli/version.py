"""`env version`: the version of envup, and of what it runs on."""

from __future__ import annotations

import sys

from envup import __version__
from envup.cli.answer import print_json, write
from envup.cli.options import Arguments

OPTIONS = ()
ARGUMENTS = ()


def run(arguments: Arguments) -> int:
    """Print the version."""
    python = ".".join(map(str, sys.version_info[:3]))
    if arguments.json:
        print_json({"envup": __version__, "python": python, "prefix": sys.prefix})
    else:
        write(f"envup {__version__}\n")
        if arguments.verbose:
            write(f"Python {python} in {sys.prefix}\n")
    return 0
