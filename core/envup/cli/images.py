"""`env images`: the image store: what is in it, build what the Envfile names, remove one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from envup.cli.answer import print_json, print_lines, style_of
from envup.cli.confirm import agree
from envup.cli.consent import TRUST
from envup.cli.inventory import images_in_use, keepers, whole_host
from envup.cli.obtaining import obtained
from envup.cli.options import Argument, Arguments, Option
from envup.errors import UsageError
from envup.provider import Layer, Layers
from envup.report.text import clean, duration, size, table

if TYPE_CHECKING:
    from envup.images.store import StoredImage
    from envup.project import Project

OPTIONS = (Option("--refresh", "build: fetch again what is in the store already"), TRUST)
ARGUMENTS = (
    Argument("ACTION", "what to do, `list` by default", count="?", choices=("list", "build", "remove")),
    Argument("NAME", "build: machines, all by default; remove: digests, or how they begin", count="*"),
)

_DIGEST = 12


def run(arguments: Arguments) -> int:
    """List, build or remove images."""
    return {"build": _build, "remove": _remove}.get(arguments.action, _list)(arguments)


def _list(arguments: Arguments) -> int:
    if arguments.name:
        raise UsageError(f"images list: '{arguments.name[0]}' is one argument too many")
    project = whole_host()
    used = images_in_use(project)
    images = project.images.list()
    kept = [
        (one.name, layer)
        for one in keepers(project)
        if isinstance(one, Layers)
        for layer in sorted(one.layers(), key=lambda layer: -layer.last_used)
    ]
    if arguments.json:
        layers = [_layer_document(name, layer) for name, layer in kept]
        print_json({"images": [_document(image, used) for image in images], "layers": layers})
        return 0
    if not images and not kept:
        print_lines(["there is no image in the store"])
        return 0
    style, now = style_of(arguments), time.time()
    head = ["DIGEST", "SIZE", "LAST USED", "ARCHITECTURE", "IN USE", "REFERENCES"]
    print_lines(table([head, *(_row(image, used, now) for image in images)], lambda text: style.paint("bold", text)))
    if kept:
        head = ["LAYER", "SIZE", "LAST USED", "PROVIDER", "IN USE", "STEP"]
        rows = [_layer_row(name, layer, now) for name, layer in kept]
        print_lines(["", *table([head, *rows], lambda text: style.paint("bold", text))])
    return 0


def _layer_document(provider: str, layer: Layer) -> dict[str, Any]:
    names = ("key", "parent", "size", "created", "last_used", "in_use")
    return {"provider": provider, "step": layer.note["step"], **{name: getattr(layer, name) for name in names}}


def _layer_row(provider: str, layer: Layer, now: float) -> list[str]:
    return [
        layer.key[:_DIGEST],
        size(layer.size),
        f"{duration(max(0.0, now - layer.last_used))} ago",
        provider,
        "yes" if layer.in_use else "no",
        clean(layer.note["step"]),
    ]


def _document(image: StoredImage, used: set[str]) -> dict[str, Any]:
    names = ("digest", "size", "created", "last_used", "architecture")
    fields = {name: getattr(image, name) for name in names}
    return fields | {"references": list(image.references), "in_use": image.digest in used}


def _row(image: StoredImage, used: set[str], now: float) -> list[str]:
    return [
        image.digest.removeprefix("sha256:")[:_DIGEST],
        size(image.size),
        f"{duration(now - image.last_used)} ago",
        image.architecture or "-",
        "yes" if image.digest in used else "no",
        clean(", ".join(image.references)) or "-",
    ]


def _build(arguments: Arguments) -> int:
    from envup.cli.rendering import renderer
    from envup.project import Project

    with renderer(arguments) as report:
        project = Project.open(arguments.file, emit=report.emit)
        environment = project.as_locked(project.settled(project.state.records(project.identity.id)))
        specs = [spec for spec in environment.machines if not arguments.name or spec.name in arguments.name]
        if unknown := set(arguments.name) - {spec.name for spec in specs}:
            raise UsageError(f"there is no machine '{min(unknown)}'")
        different = {(spec.provider, repr(spec.image)): spec for spec in specs}
        images = obtained(project, environment, different, arguments, report, refresh=arguments.refresh)
        built = {different[key].name: image for key, image in images.items()}
        for name, image in built.items():
            report.say(f"{name}: {image.digest}")
        report.result(ok=True, images={name: image.digest for name, image in built.items()})
    return 0


def _remove(arguments: Arguments) -> int:
    if not arguments.name:
        raise UsageError("images remove: NAME is missing", hint="`env images` lists the digests")
    project = whole_host()
    digests = [_digest(project, name) for name in arguments.name]
    used = images_in_use(project)
    agree([f"image {digest} is in use by a machine" for digest in digests if digest in used], arguments)
    for digest in digests:
        project.images.remove(digest)
    if arguments.json:
        print_json({"removed": digests})
    elif not arguments.quiet:
        print_lines(f"removed {digest}" for digest in digests)
    return 0


def _digest(project: Project, name: str) -> str:
    known: Sequence[str] = [image.digest for image in project.images.list()]
    wanted = name.removeprefix("sha256:")
    matches = [digest for digest in known if wanted and digest.removeprefix("sha256:").startswith(wanted)]
    if len(matches) != 1:
        what = "several images begin" if matches else "no image in the store begins"
        raise UsageError(
            f"{what} with '{name}'", hint="`env images` lists the digests of images; `env prune` frees layers"
        )
    return matches[0]
