"""`env prune`: free what nothing uses: images, the forms of them that providers keep, records of what is gone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from envup.cli.answer import print_json, print_lines
from envup.cli.inventory import images_in_use, instances, whole_host
from envup.cli.options import Arguments
from envup.errors import EnvupError
from envup.project import Project, lacks
from envup.provider import ImageForms, Provider
from envup.report.text import size
from envup.ssh import keys

OPTIONS = ()
ARGUMENTS = ()
DETAILS = "An image is in use while a machine made from it exists. What is freed is fetched again when it is needed."


def run(arguments: Arguments) -> int:
    """Free it and tell what was freed."""
    project = whole_host()
    in_use = images_in_use(project)
    freed: list[dict[str, Any]] = [
        {"kind": "image", "digest": digest, "bytes": count} for digest, count in project.images.prune(in_use)
    ]
    freed += _forms(project, in_use)
    forgotten = _forget(project)
    total = sum(entry["bytes"] for entry in freed)
    if arguments.json:
        print_json({"freed": freed, "bytes": total, "forgotten": forgotten})
    elif not arguments.quiet:
        print_lines(f"freed {entry['kind']} {entry['digest']}, {size(int(entry['bytes']))}" for entry in freed)
        print_lines(f"forgot the environment of {directory}, which is gone" for directory in forgotten)
        print_lines([f"{size(total)} freed"])
    return 0


def _forms(project: Project, in_use: set[str]) -> list[dict[str, Any]]:
    freed: list[dict[str, Any]] = []
    for provider in project.providers_beside(()):
        for digest, count in _forms_of(provider):
            if digest not in in_use:
                assert isinstance(provider, ImageForms)
                provider.remove_form(digest)
                freed.append({"kind": f"{provider.name} form", "digest": digest, "bytes": count})
    return freed


def _forms_of(provider: Provider) -> Sequence[tuple[str, int]]:
    try:
        return provider.forms() if isinstance(provider, ImageForms) else ()
    except EnvupError:
        if lacks(provider):
            return ()
        raise


def _forget(project: Project) -> list[str]:
    """Drop the records of environments that have no machine and whose directory is gone or has another id by now."""
    alive = {instance.labels.get("envup.environment") for _, instance in instances(project)[0]}
    gone = [row for row in project.state.environments() if row[0] not in alive and not _is_home(row[0], Path(row[2]))]
    for identity, *_ in gone:
        project.state.forget_environment(identity)
        keys.forget(project.home, identity)
    return [directory for _, _, directory, _ in gone]


def _is_home(identity: str, directory: Path) -> bool:
    from envup.state.identity import find

    try:
        found = find(directory)
    except EnvupError:
        return True  # what cannot be read may be it
    return found is not None and found.id == identity
