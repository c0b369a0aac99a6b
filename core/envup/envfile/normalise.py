"""A valid document in one form: every machine whole, with the file's defaults and then the schema's under it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from envup.envfile.interpolate import mark_of
from envup.envfile.schema import fill

ALONE = "default"
"""Name of the machine of a file without `machines:`."""
FILE_KEYS = frozenset(("version", "name", "defaults", "machines"))
WHOLE = frozenset(("image", "ready"))
"""Machine keys that are one choice of several: merging two of them key by key would make two choices."""


def normalise(document: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """`name`, `machines` and `debootstrap`, the options that the short form of an image has beside its suite."""
    machines = document.get("machines")
    if machines is None:
        machines = {ALONE: {key: value for key, value in document.items() if key not in FILE_KEYS}}
    under = {"provider": document["provider"]} if "provider" in document else {}
    under = _merged(under, _visible(document.get("defaults", {})), WHOLE)
    definitions = schema["$defs"]
    under = {key: {} for key in _with_defaults(definitions["machine"]["properties"])} | under
    return {
        "name": document.get("name"),
        "machines": {
            name: fill(definitions["machine"], _merged(under, _visible(machine), WHOLE), schema)
            for name, machine in machines.items()
        },
        "debootstrap": fill(definitions["debootstrap"], {}, schema),
    }


def _with_defaults(keys: Mapping[str, Any]) -> Iterator[str]:
    """The providers with options that have a default, which holds whether a machine has that provider's key or not."""
    for name, section in keys.items():
        is_providers = str(section.get("$id", "")).startswith("urn:envup:provider:")
        if is_providers and any("default" in option for option in section.get("properties", {}).values()):
            yield name


def _merged(under: Mapping[str, Any], over: Mapping[str, Any], whole: frozenset[str] = frozenset()) -> dict[str, Any]:
    """`over` on `under`: mappings key by key, all else replaced."""
    result = dict(under)
    for key, value in over.items():
        old = result.get(key)
        both = isinstance(old, dict) and isinstance(value, dict) and not (mark_of(old) or mark_of(value))
        result[key] = _merged(old, value) if both and key not in whole and old is not None else value
    return result


def _visible(value: Any) -> Any:
    """A copy without the keys that are free for the user."""
    if isinstance(value, dict):
        return {key: _visible(item) for key, item in value.items() if not key.startswith("x-")}
    return [_visible(item) for item in value] if isinstance(value, list) else value
