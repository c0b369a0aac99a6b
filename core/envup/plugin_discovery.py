"""Finding plugins among the installed distributions, and reading their manifests without importing them.

Nothing here raises for what a plugin did wrong: it becomes the `problem` of that plugin.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from envup.plugin_index import PluginInfo
from envup.provider import API, ISOLATION
from envup.value import replace

GROUP = "envup"
MANIFEST = "options.schema.json"
KINDS = ("provider", "provisioner", "image_source")


def discover() -> tuple[list[PluginInfo], list[str]]:
    """Every plugin in the order of names, and the paths of their manifests, whether or not they are there."""
    importlib.invalidate_caches()
    plugins: list[PluginInfo] = []
    manifests: list[str] = []
    for name, module, distribution, version in _entries():
        path = manifest_path(module)
        manifests += [str(path)] if path else []
        plugins.append(_describe(PluginInfo(name, module, distribution, version, (), {}), path))
    return sorted(_without_twins(plugins), key=lambda plugin: (plugin.name, plugin.distribution)), manifests


def _entries() -> Iterator[tuple[str, str, str, str]]:
    """(name, module, distribution, version) of each entry point of our group. Of two distributions of one name the
    first on the path counts, as it does for Python."""
    seen: set[str] = set()
    for found in metadata.distributions():
        if f"[{GROUP}]" not in _entry_points_text(found):
            continue
        distribution, version = _label(found)
        normal = distribution.lower().replace("_", "-").replace(".", "-")
        if normal in seen:
            continue
        seen.add(normal)
        try:
            for entry in found.entry_points:
                if entry.group == GROUP:
                    yield entry.name, entry.value, distribution, version
        except (ValueError, TypeError):
            yield distribution, "", distribution, version


def _entry_points_text(found: metadata.Distribution) -> str:
    try:
        return found.read_text("entry_points.txt") or ""
    except (OSError, ValueError):
        return ""


def _label(found: metadata.Distribution) -> tuple[str, str]:
    fields = dict.fromkeys(("Name", "Version"), "")
    for line in (found.read_text("METADATA") or found.read_text("PKG-INFO") or "").splitlines():
        key, _, value = line.partition(":")
        if not line:
            break
        if key in fields:
            fields[key] = value.strip()
    return fields["Name"] or "(a distribution without a name)", fields["Version"] or "?"


def manifest_path(module: str) -> Path | None:
    """Where the manifest of `module` is or should be; None where there is no such module. Imports nothing."""
    spec = _spec(module)
    if spec is None:
        return None
    if spec.origin and spec.has_location:
        return Path(spec.origin).parent / MANIFEST
    return next((Path(place) / MANIFEST for place in spec.submodule_search_locations or ()), None)


def _spec(module: str) -> ModuleSpec | None:
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
        name = top
        for part in rest:
            if spec is None or spec.submodule_search_locations is None:
                return None
            name = f"{name}.{part}"
            spec = PathFinder.find_spec(name, list(spec.submodule_search_locations))
    except (ImportError, ValueError, AttributeError):
        return None
    return spec


def _describe(plugin: PluginInfo, path: Path | None) -> PluginInfo:
    if not re.fullmatch(r"(?!x-)[a-z][a-z0-9_-]*", plugin.name):
        return replace(plugin, problem="its name must be of lower-case letters, digits, dashes and underscores")
    if not all(part.isidentifier() for part in plugin.module.split(".")):
        return replace(plugin, problem=f"its entry point must name a module, not '{plugin.module}'")
    if path is None:
        return replace(plugin, problem=f"its module {plugin.module} is not there")
    try:
        manifest = json.loads(path.read_bytes())
    except OSError as error:
        return replace(plugin, problem=f"its manifest {path} cannot be read: {error.strerror}")
    except (ValueError, RecursionError) as error:
        return replace(plugin, problem=f"its manifest {path} is not JSON: {error}")
    if not isinstance(manifest, dict):
        return replace(plugin, problem=f"its manifest {path} is not a JSON object")
    told = manifest.get("x-envup")
    listed = told.get("kinds", []) if isinstance(told, dict) else []
    kinds = tuple(kind for kind in listed if kind in KINDS) if isinstance(listed, list) else ()
    problem = manifest_problem(manifest) or _name_problem(plugin.name, kinds)
    return replace(plugin, manifest=manifest, kinds=kinds, problem=problem)


def _name_problem(name: str, kinds: tuple[str, ...]) -> str:
    from envup.envfile.schema import reserved

    taken = [kind for kind in kinds if name in reserved(kind)]
    return f"a {taken[0]} cannot be called '{name}', which is a key of the Envfile" if taken else ""


def manifest_problem(manifest: Mapping[str, Any]) -> str:
    """Why a manifest does not hold, in one sentence; empty when it does."""
    told = manifest.get("x-envup")
    if not isinstance(told, dict):
        return "its manifest has no 'x-envup'"
    if told.get("api") != API:
        return f"it is made for version {told.get('api')} of the plugin interface, and this envup has version {API}"
    kinds = told.get("kinds", [])
    if not isinstance(kinds, list) or not (kinds or told.get("events")):
        return "its manifest names no 'kinds'"
    if strange := [str(kind) for kind in kinds if kind not in KINDS]:
        return f"its manifest names the unknown kind '{strange[0]}'; there are {', '.join(KINDS)}"
    if "provider" in kinds and told.get("isolation") not in ISOLATION:
        return f"its manifest must say which 'isolation' it gives: {', '.join(ISOLATION)}"
    return _schema_problem(manifest)


def _schema_problem(manifest: Mapping[str, Any]) -> str:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(manifest)
    except SchemaError as error:
        return f"its manifest is not a JSON schema: {error.json_path}: {error.message}"
    for name, section in manifest.get("properties", {}).items():
        if problem := _consent_problem(section):
            return f"its manifest, at '{name}': {problem}"
    if _consents(manifest) > sum(map(_says_consent, manifest.get("properties", {}).values())):
        return "its manifest has 'x-consent' elsewhere than in an option at its top, where nobody looks at it"
    for reference in _references(manifest):
        if not _leads_somewhere(reference, manifest):
            return f"its manifest refers to '{reference}', which is not in it"
    return ""


def _consent_problem(section: object) -> str:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    if not isinstance(section, dict) or not _says_consent(section):
        return ""
    if not isinstance(section.get("x-consent"), str):
        return "'x-consent' must be a text that says why"
    try:
        Draft202012Validator.check_schema(section.get("x-consent-when", True))
    except SchemaError as error:
        return f"'x-consent-when' is not a JSON schema: {error.message}"
    return ""


def _says_consent(section: object) -> bool:
    return isinstance(section, dict) and bool({"x-consent", "x-consent-when"} & section.keys())


def _consents(value: object) -> int:
    """How many sections, at whatever depth, ask for consent."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return _says_consent(value) + sum(map(_consents, inner))


def _references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        yield from (f"${key}" for key in ("dynamicRef",) if f"${key}" in value)
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


def _leads_somewhere(reference: str, manifest: Mapping[str, Any]) -> bool:
    value: object = manifest
    head, *parts = reference.split("/")
    for part in parts:
        if not isinstance(value, dict) or part not in value:
            return False
        value = value[part]
    return head == "#" and isinstance(value, dict | bool)


def _without_twins(plugins: list[PluginInfo]) -> list[PluginInfo]:
    """The same list, where plugins that share a name and a kind have that as their problem."""
    count = Counter((plugin.name, kind) for plugin in plugins for kind in plugin.kinds)
    return [_twin(plugin, plugins, count) for plugin in plugins]


def _twin(plugin: PluginInfo, plugins: list[PluginInfo], count: Counter[tuple[str, str]]) -> PluginInfo:
    shared = [kind for kind in plugin.kinds if count[plugin.name, kind] > 1]
    if not shared:
        return plugin
    others = sorted({twin.distribution for twin in plugins if twin.name == plugin.name and shared[0] in twin.kinds})
    kind = shared[0].replace("_", " ")
    return replace(plugin, problem=f"more than one {kind} is called '{plugin.name}': from {' and '.join(others)}")
