"""`env copy`: files into or out of a machine."""

from __future__ import annotations

from envup.cli.opening import project_of
from envup.cli.options import Argument, Arguments
from envup.copying import copy_into, copy_out
from envup.errors import UsageError
from envup.machine import Machine
from envup.model import ImageReference, MachineSpec
from envup.project import Project

OPTIONS = ()
ARGUMENTS = (
    Argument("SOURCE", "a path, MACHINE:/PATH, or - for a tar stream from standard input", kind="file"),
    Argument("TARGET", "a path, MACHINE:/PATH, or - for a tar stream to standard output", kind="file"),
)
DETAILS = """
One of the two is in a machine; `:/PATH` is in the only machine. By the rules of cp -a: into TARGET where that is a
directory or ends in `/`, else as TARGET. Keeps modes, links, times, and owners where permitted. A tar stream is
unpacked below the directory TARGET. A path of the host with a colon in it is written with `./` before it."""


def run(arguments: Arguments) -> int:
    """Copy."""
    source, target = _place(arguments.source), _place(arguments.target)
    if (source is None) == (target is None):
        raise UsageError(
            "copy: one of SOURCE and TARGET must be in a machine, and only one", hint="write it as MACHINE:/PATH"
        )
    if arguments.target == "-" and arguments.json:
        raise UsageError("copy: --json and a tar stream cannot share standard output")
    project = project_of(arguments)
    if target is not None:
        copy_into(_machine(project, target[0]), arguments.source, target[1])
    elif source is not None:
        copy_out(_machine(project, source[0]), source[1], arguments.target)
    if arguments.json:
        from envup.cli.answer import print_json

        print_json({"event": "result", "ok": True})
    return 0


def _place(word: str) -> tuple[str | None, str] | None:
    """(machine or None for the only one, path in it), or None for a place on the host."""
    name, colon, path = word.partition(":")
    if not colon or "/" in name or name.startswith("."):
        return None
    if not path.startswith("/"):
        raise UsageError(
            f"copy: '{word}': the path in a machine begins with /", hint=f"for a file of the host: ./{word}"
        )
    return name or None, path


def _machine(project: Project, name: str | None) -> Machine:
    located = project.locate(name)
    spec = MachineSpec(located.name, ImageReference("host"), user=located.user)
    return Machine(located.provider, located.instance, spec, emit=project.emit)
