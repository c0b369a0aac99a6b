"""`env package`: a machine's files as an image that others are made from."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envup import outfile, packaging
from envup.cli.opening import project_of
from envup.cli.options import Argument, Arguments, Option
from envup.errors import EnvupError, RefusedError, UsageError
from envup.provider import Export
from envup.tasks import Task

if TYPE_CHECKING:
    from typing import BinaryIO

    from envup.observe import Seen
    from envup.project import Project

OPTIONS = (Option("--force", "replace TARGET where it is there already"),)
ARGUMENTS = (
    Argument("MACHINE", "name of a machine", kind="machine"),
    Argument("TARGET", "the file; compressed where it ends in .zst, .gz or .tgz; - for standard output", kind="file"),
)
DETAILS = """
Writes the root file system of a machine as an archive that `image: {tarball: TARGET}` takes on every provider, or of a
kvm machine that was made from a disk image its disk, for `image: {disk: TARGET}`. Its programs stand still while the
files are read. Mounts, volumes, the machine's id, what envup writes into machines and the variables of the Envfile are
no part of it; those of the machine's own image are."""

_DISK = ".qcow2"
_CHUNK = 1 << 20


def run(arguments: Arguments) -> int:
    """Write it."""
    name, file = arguments.machine, arguments.target
    if file == outfile.STANDARD_OUTPUT and arguments.json:
        raise UsageError("package: --json and an image cannot share standard output")
    project = project_of(arguments)
    with project.lock("package", arguments.wait):
        seen = _seen(project, name)
        provider = project.provider(seen.provider)
        if not isinstance(provider, Export):
            brief = f"machine '{name}': provider {provider.name} cannot package machines of this user"
            raise RefusedError(brief, hint="see docs/package.md for what providers can")
        form = provider.exports(seen.instance)
        _require_fitting(name, file, form)
        outfile.require(file, force=arguments.force)
        with outfile.opened(file, force=arguments.force) as target:
            if form == "tar":
                _write(provider, project, name, seen, target)
            else:
                provider.export(seen.instance, target)
    if arguments.json:
        from envup.cli.answer import print_json

        print_json(
            {"machine": name, "file": str(Path(file).absolute()), "form": form, "size": Path(file).stat().st_size}
        )
    return 0


def _seen(project: Project, name: str) -> Seen:
    """The machine. Errors: `UsageError` where there is none, or only what is left of one."""
    observed = project.observe()
    seen = observed.machines.get(name)
    for error in () if seen else observed.silent.values():
        raise error
    if seen is None:
        there = ", ".join(observed.machines)
        raise UsageError(f"there is no machine '{name}'", hint=f"there are {there}" if there else "`env up` makes it")
    if seen.instance.state == "broken":
        brief = f"machine '{name}' is broken: {seen.instance.reason}"
        raise UsageError(brief, hint=f"`env destroy {name}` removes it")
    return seen


def _require_fitting(machine: str, file: str, form: str) -> None:
    """Errors: `UsageError` for a name that says something else than what it would hold."""
    if form == "tar" and file.endswith(_DISK):
        brief = f"machine '{machine}' was made from a root file system, which is packaged as an archive"
        raise UsageError(brief, hint=f"name it {file.removesuffix(_DISK)}.tar.zst")
    if form == "qcow2" and not (file.endswith(_DISK) or file == outfile.STANDARD_OUTPUT):
        brief = f"machine '{machine}' was made from a disk image, and is packaged as one"
        raise UsageError(brief, hint=f"name it {file.partition('.')[0]}{_DISK}")


def _facts(project: Project, name: str, seen: Seen) -> dict[str, Any]:
    """What the archive says of itself. Variables are those of the machine's own image."""
    records, labels = project.state.records(project.identity.id), seen.instance.labels
    spec = records.machines[name].spec if name in records.machines else {}
    return {
        "format": 1,
        "name": name,
        "image": labels["envup.image"],
        "steps": [step.name for step in records.steps.get(name, ())],
        "user": spec.get("user", "root"),
        "ports": [f"{port[2]}/{port[3]}" for port in spec.get("ports", ())],
        "environment": json.loads(labels["envup.variables"]),
    }


def _write(provider: Export, project: Project, name: str, seen: Seen, target: BinaryIO) -> None:
    """Pass what the provider exports on. Errors: `EnvupError`, `OSError`; what the provider says goes first."""
    reader, writer = os.pipe()

    def export() -> None:
        with os.fdopen(writer, "wb") as file:
            provider.export(seen.instance, file)

    source = os.fdopen(reader, "rb")
    exporting = Task(export)
    try:
        packaging.write(source, target, _facts(project, name, seen))
        while source.read(_CHUNK):
            pass  # what fills the last block of an archive
    except EnvupError:
        source.close()
        exporting.result()
        raise
    finally:
        source.close()
        exporting.join()
    exporting.result()
