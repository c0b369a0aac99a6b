"""`env new`: write a commented Envfile."""

from __future__ import annotations

from pathlib import Path

from envup.cli.answer import print_json, print_lines
from envup.cli.options import Argument, Arguments, Option

OPTIONS = (
    Option("--image", "the image of the machine, for example debian/bookworm or host", value="IMAGE"),
    Option("--provider", "the provider of the machine", value="NAME"),
)
ARGUMENTS = (Argument("NAME", "name of the environment; else the directory's", count="?"),)
DETAILS = "Writes into the current directory, or to the directory of --file. Never overwrites."


def run(arguments: Arguments) -> int:
    """Write it and tell where it is."""
    from envup.envfile.template import write_new

    directory = arguments.file.parent if arguments.file else Path.cwd()
    path = write_new(directory, image=arguments.image, provider=arguments.provider, name=arguments.name)
    if arguments.json:
        print_json({"file": str(path)})
    elif not arguments.quiet:
        print_lines([f"wrote {path}; `env up` makes the machine"])
    return 0
