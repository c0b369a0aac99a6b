"""`env plugins`: what is installed, and what it can do."""

from __future__ import annotations

from typing import Any

from envup.cli.answer import print_json, print_lines, style_of
from envup.cli.options import Arguments
from envup.errors import EnvupError
from envup.plugins import Host, PluginInfo
from envup.report.text import clean, table

OPTIONS = ()
ARGUMENTS = ()

_KINDS = ("provider", "provisioner", "image_source", "")
"""In the order of the list; of a broken plugin the kind may not be known."""


def run(arguments: Arguments) -> int:
    """Print plugins and the image sources of envup itself. A broken plugin is listed with its problem."""
    host = Host()
    found = [document for plugin in host.catalog() for document in _plugin(host, plugin)] + _own_sources()
    found.sort(key=lambda document: (_KINDS.index(document["kind"]), document["name"]))
    if arguments.json:
        print_json({"plugins": found})
        return 0
    style = style_of(arguments)
    rows = [["NAME", "KIND", "VERSION", "DISTRIBUTION", "CAN"], *map(_row, found)]
    lines = table(rows, lambda head: style.paint("bold", head))
    lines += [f"{clean(p['name'])}: {clean(p['problem'])}" for p in found if p["problem"]]
    print_lines(lines)
    return 0


def _plugin(host: Host, plugin: PluginInfo) -> list[dict[str, Any]]:
    documents = [_document(plugin, kind, host) for kind in plugin.kinds]
    return documents or [_facts(plugin, "", plugin.problem)]


def _document(plugin: PluginInfo, kind: str, host: Host) -> dict[str, Any]:
    if plugin.problem:
        return _facts(plugin, kind, plugin.problem)
    try:
        loaded = getattr(host, kind)(plugin.name)
    except EnvupError as error:
        return _facts(plugin, kind, f"{error.brief}: {error.details}" if error.details else error.brief)
    if kind != "provider":
        return _facts(plugin, kind, "")
    return _facts(plugin, kind, "") | {
        "isolation": loaded.isolation,
        "modes": sorted(loaded.modes),
        "abilities": _abilities(loaded),
    }


def _facts(plugin: PluginInfo, kind: str, problem: str) -> dict[str, Any]:
    return {
        "name": plugin.name,
        "kind": kind,
        "version": plugin.version,
        "distribution": plugin.distribution,
        "abilities": [],
        "problem": problem,
    }


def _abilities(loaded: type) -> list[str]:
    from envup import provider

    own = {name for name, value in vars(provider).items() if isinstance(value, type) and value is not provider.Provider}
    return sorted(
        base.__name__.lower()
        for base in loaded.__mro__
        if base.__module__ == provider.__name__ and base.__name__ in own
    )


def _own_sources() -> list[dict[str, Any]]:
    from envup import __version__
    from envup.images.sources import SOURCES

    facts = {"kind": "image_source", "version": __version__, "distribution": "envup", "abilities": [], "problem": ""}
    return [{"name": name} | facts for name in SOURCES]


def _row(found: dict[str, Any]) -> list[str]:
    can = [*([f"isolation: {found['isolation']}"] if "isolation" in found else []), *found["abilities"]]
    cells = (found["name"], found["kind"], found["version"], found["distribution"], ", ".join(can))
    return [clean(cell) or "-" for cell in (*cells[:4], "broken" if found["problem"] else cells[4])]
