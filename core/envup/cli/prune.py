"""`env prune`: free what nothing uses: images, the forms of them that providers keep, records of what is gone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from envup import freeing
from envup.cli.answer import print_json, print_lines
from envup.cli.inventory import images_in_use, instances, keepers, whole_host
from envup.cli.options import Arguments, Option
from envup.envfile import cache
from envup.envfile.units import duration
from envup.envfile.units import size as bytes_of
from envup.errors import EnvupError
from envup.project import Project, lacks
from envup.provider import ImageForms, Layers, Provider
from envup.report.text import size
from envup.ssh import keys
from envup.state import agreements

OPTIONS = (
    Option("--unused-for", "of layers, free those only that were not used for so long", value="TIME", convert=duration),
    Option(
        "--size", "of layers, free those only that are more than each provider may keep", value="SIZE", convert=bytes_of
    ),
)
ARGUMENTS = ()
DETAILS = (
    "An image is in use while a machine made from it exists, a layer while a machine or another layer stands on it."
    " What is freed is fetched or made again when it is needed."
)


def run(arguments: Arguments) -> int:
    """Free it and tell what was freed."""
    project = whole_host()
    beside = keepers(project)
    layers = _layers(beside, arguments)
    in_use = _needed(project, beside)
    freed: list[dict[str, Any]] = [
        {"kind": "image", "digest": digest, "bytes": count} for digest, count in project.images.prune(in_use)
    ]
    freed += layers + _forms(project, in_use, beside)
    forgotten = _forget(project)
    total = sum(entry["bytes"] for entry in freed)
    if arguments.json:
        print_json({"freed": freed, "bytes": total, "forgotten": forgotten})
    elif not arguments.quiet:
        print_lines(f"freed {entry['kind']} {entry['digest']}, {size(int(entry['bytes']))}" for entry in freed)
        print_lines(f"forgot the environment of {directory}, which is gone" for directory in forgotten)
        print_lines([f"{size(total)} freed"])
    return 0


def _layers(beside: Sequence[Provider], arguments: Arguments) -> list[dict[str, Any]]:
    freed: list[dict[str, Any]] = []
    before = time.time() - (arguments.unused_for or 0)
    for provider in beside:
        assert isinstance(provider, Layers)
        provider.mend_layers()
        if arguments.size is not None:
            gone = freeing.shrink(provider, arguments.size, before=before)
        else:
            gone = freeing.free(provider, before=before)
        kind = f"{provider.name} layer"
        freed += [{"kind": kind, "digest": layer.key, "bytes": layer.size} for layer in gone]
    return freed


def _needed(project: Project, beside: Sequence[Provider]) -> set[str]:
    """Digests of the images that machines were made from, or layers."""
    kept = [layer for one in beside if isinstance(one, Layers) for layer in one.layers()]
    return images_in_use(project) | {str(layer.note["image"]) for layer in kept}


def _forms(project: Project, in_use: set[str], beside: Sequence[Provider]) -> list[dict[str, Any]]:
    freed: list[dict[str, Any]] = []
    for provider in project.providers_beside(()):
        for digest, count in _forms_of(provider):
            if digest not in in_use and _is_removed(provider, digest, lambda: _needed(project, beside)):
                freed.append({"kind": f"{provider.name} form", "digest": digest, "bytes": count})
    return freed


def _is_removed(provider: Provider, digest: str, needed: Callable[[], set[str]]) -> bool:
    """Remove a form, unless a machine was made from it meanwhile, or a layer. Errors: `EnvupError`."""
    assert isinstance(provider, ImageForms)
    try:
        provider.remove_form(digest)
    except EnvupError:
        if digest in needed():
            return False
        raise
    return True


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
    agreements.forget_gone(project.home.data)
    cache.sweep(project.home.cache)
    return [directory for _, _, directory, _ in gone]


def _is_home(identity: str, directory: Path) -> bool:
    from envup.state.identity import find

    try:
        found = find(directory)
    except EnvupError:
        return True  # what cannot be read may be it
    return found is not None and found.id == identity
