"""The schema of the Envfile: the file beside this package, with the manifests of the installed plugins merged in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envup.plugin_index import PluginInfo
    from envup.plugins import Host

FILE = Path(__file__).parent.parent / "envfile.schema.json"
KINDS = ("provider", "provisioner", "image_source")
PLACEHOLDERS = frozenset(("lxc", "docker", "kvm"))
"""Providers whose key the base schema accepts even where they are not installed."""
OTHER_SYSTEMS = {"^x-": True}


def base() -> dict[str, Any]:
    """The schema without plugins; a fresh copy at each call."""
    schema: dict[str, Any] = json.loads(FILE.read_bytes())
    return schema


@cache
def _applied() -> Mapping[str, str]:
    properties = base()["$defs"]["machine"]["properties"]
    return {key: section["x-apply"] for key, section in properties.items()}


def touches(key: str) -> str:
    """What a change of a machine's key means: `live`, `restart`, `recreate` or `provision`. A key that the schema does
    not know is a provider's own, and `recreate`."""
    return _applied().get(key, "recreate")


def reserved(kind: str) -> frozenset[str]:
    """Names that a plugin of that kind cannot have, because the Envfile uses them for something else."""
    definitions = base()["$defs"]
    if kind == "provider":
        file = definitions["file"]["properties"]
        return frozenset((*definitions["machine"]["properties"], *file, "auto")) - PLACEHOLDERS
    return frozenset(definitions["step"]["properties"]) if kind == "provisioner" else frozenset()


def merged(host: Host) -> dict[str, Any]:
    """The whole schema: every provider's key in a machine, every provisioner's in a step, every image source's in
    `image`. What a broken plugin's key holds is not checked."""
    schema = base()
    definitions = schema["$defs"]
    for plugin in host.catalog():
        for kind in KINDS:
            if plugin.may_be(kind) and plugin.name not in reserved(kind):
                _ADD[kind](definitions, plugin.name, _section(plugin, kind))
    definitions["machine"]["properties"]["provider"]["examples"] = ["auto", *host.providers()]
    definitions["step"]["oneOf"] = [{"required": [name]} for name in host.names("provisioner")]
    return schema


def _section(plugin: PluginInfo, kind: str) -> dict[str, Any]:
    """A manifest as a part of the schema, with an identity of its own, so that its references stay within it."""
    if plugin.problem:
        return {"type": "object"} if kind == "provider" else {}
    section = {key: value for key, value in plugin.manifest.items() if key not in ("$schema", "x-envup")}
    section |= {"$id": f"urn:envup:{kind}:{plugin.name}"}
    if "additionalProperties" in section:
        section["patternProperties"] = OTHER_SYSTEMS | section.get("patternProperties", {})
    return section


def _add_provider(definitions: dict[str, Any], name: str, section: dict[str, Any]) -> None:
    definitions["machine"]["properties"][name] = {"x-apply": "recreate", **section}
    definitions["single"]["properties"][name] = {"$ref": f"urn:envup:envfile#/$defs/machine/properties/{name}"}


def _add_provisioner(definitions: dict[str, Any], name: str, section: dict[str, Any]) -> None:
    definitions["step"]["properties"][name] = section


def _add_image_source(definitions: dict[str, Any], name: str, section: dict[str, Any]) -> None:
    forms = definitions["image"]["oneOf"]
    if any(name in form.get("required", ()) for form in forms):
        return
    form = {"type": "object", "properties": {name: section}, "required": [name]}
    forms.append({**form, "patternProperties": OTHER_SYSTEMS, "additionalProperties": False})


_ADD = {"provider": _add_provider, "provisioner": _add_provisioner, "image_source": _add_image_source}


def fill(schema: Mapping[str, Any], value: Any, root: Mapping[str, Any]) -> Any:
    """A copy of `value` with the defaults of `schema` where a key is absent, keys in the schema's order. `root` is what
    references begin at. Of several forms the one that has its required keys in `value` counts."""
    schema, root = _followed(schema, root)
    if isinstance(value, list):
        items = schema.get("items", {})
        return [fill(items, item, root) for item in value]
    if not isinstance(value, dict) or any(key.startswith("\0") for key in value):
        return value
    for form in (*schema.get("oneOf", ()), *schema.get("anyOf", ())):
        target, _ = _followed(form, root)
        if target.get("type") == "object" and all(key in value for key in target.get("required", ())):
            value = fill(target, value, root)
    properties = schema.get("properties", {})
    known = {key: fill(part, value[key], root) for key, part in properties.items() if key in value}
    absent = {key: part["default"] for key, part in properties.items() if "default" in part and key not in value}
    ordered = {key: (known | absent)[key] for key in properties if key in known or key in absent}
    return ordered | {key: item for key, item in value.items() if key not in ordered}


def _followed(schema: Any, root: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    if not isinstance(schema, dict):
        return {}, root
    if "$id" in schema:
        root = schema
    extra = {key: value for key, value in schema.items() if key != "$ref"}
    steps = 0
    while "$ref" in schema and steps < 20:
        target: Any = root
        for part in schema["$ref"].partition("#")[2].split("/")[1:]:
            target = target[part]
        schema, steps = target, steps + 1
        extra = {**target, **extra} if isinstance(target, dict) else extra
    return {key: value for key, value in extra.items() if key != "$ref"}, root
