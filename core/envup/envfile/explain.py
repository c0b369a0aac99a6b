"""Errors of the schema in plain words. Of several forms that a value could have, the nearest one is told."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from jsonschema.exceptions import ValidationError

from envup.envfile.faults import MOST, Fault, listed, suggestion, unknown
from envup.envfile.tree import Path

NAMES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "null": "nothing",
}
Shown = Callable[[Path, Any], str]


def explain(error: ValidationError, shown: Shown) -> Iterator[Fault]:
    """The faults behind one error. `shown` gives a value as it may be told."""
    path: Path = tuple(error.absolute_path)
    rule = str(error.validator)
    if error.instance is None and rule in ("type", "oneOf", "anyOf", "enum", "const"):
        yield Fault(path, "has no value; write one or remove the key", True)
    elif rule == "additionalProperties":
        yield from _unknown_keys(error, path)
    elif rule in ("oneOf", "anyOf"):
        yield from _forms(error, path, shown)
    elif rule == "required":
        missing = next(key for key in _wanted(error) if f"'{key}'" in error.message)
        yield Fault(path, f"the key '{missing}' is missing", True)
    elif error.relative_schema_path and "propertyNames" in list(error.relative_schema_path)[-2:]:
        yield Fault((*path, str(error.instance)), f"is not {_expected(error)}", True)
    else:
        yield Fault(path, _message(error, shown(path, error.instance)))


def _wanted(error: ValidationError) -> Any:
    """What the schema's keyword says."""
    return error.validator_value


def _instance(error: ValidationError) -> Any:
    """The value that the error is about."""
    return error.instance


def _unknown_keys(error: ValidationError, path: Path) -> Iterator[Fault]:
    schema: Mapping[str, Any] = error.schema if isinstance(error.schema, dict) else {}
    known = set(schema.get("properties", {}))
    free = schema.get("patternProperties", {})
    top = {"machines"} if not path else set()
    strange = (key for key in _instance(error) if key not in known and not any(re.search(p, key) for p in free))
    for key in islice(strange, MOST):
        message = unknown(key, known | top) + _deeper(key, known | top, schema)
        if not path and "machines" in known and key in ("image", "provision", "mounts", "ports", "resources", "ready"):
            message = "beside 'machines' this key belongs under 'defaults' or under a machine"
        yield Fault((*path, key), message, True, True)


def _deeper(key: str, known: set[str], schema: Mapping[str, Any]) -> str:
    """A suggestion from one level further in, where there is none at this level."""
    if suggestion(key, known):
        return ""
    for parent, section in schema.get("properties", {}).items():
        inner = section.get("properties", {}) if isinstance(section, dict) else {}
        if found := suggestion(key, inner):
            return f"{found.removesuffix('?')} under '{parent}'?"
    return ""


def _forms(error: ValidationError, path: Path, shown: Shown) -> Iterator[Fault]:
    branches: dict[Any, list[ValidationError]] = {}
    for child in error.context or ():
        branches.setdefault(child.relative_schema_path[0], []).append(child)
    forms = _wanted(error)
    if not branches:
        # Forms that only ask for keys fit everything that has no keys, and its type is an error of its own.
        if isinstance(error.instance, dict) or any("type" in form for form in forms):
            present = [key for form in forms for key in form.get("required", ()) if key in _instance(error)]
            told = f"has {listed(present, 'and')}, and only one of them can be" if present else "fits several forms"
            yield Fault(path, told, True)
        return
    keys = sorted({key for form in forms for key in form.get("required", ())[:1]}) if _exclusive(forms) else []
    if isinstance(error.instance, dict) and len(keys) > 1:
        present = [key for key in keys if key in error.instance]
        if len(present) > 1:
            yield Fault(path, f"has {listed(present, 'and')}, and only one of them can be", True)
            return
        if not present:
            yield from _none_of(error, path, keys)
            return
    fitting = [faults for faults in branches.values() if not any(_of_type(child) for child in faults)]
    if not fitting:
        yield Fault(path, f"must be {_types(forms)}, not {_kind(error.instance)}")
        return
    for child in min(fitting, key=lambda faults: (any(c.validator == "required" for c in faults), len(faults))):
        yield from explain(child, shown)


def _exclusive(forms: list[Any]) -> bool:
    return sum(1 for form in forms if isinstance(form, dict) and form.get("required")) > 1


def _none_of(error: ValidationError, path: Path, keys: list[str]) -> Iterator[Fault]:
    strange = {key: suggestion(key, keys) for key in _instance(error) if not key.startswith("x-")}
    near = {key: hint for key, hint in strange.items() if hint}
    for key, hint in near.items():
        yield Fault((*path, key), f"unknown key{hint}", True, True)
    if not near:
        yield Fault(path, f"needs one of the keys {listed(keys)}", True)


def _of_type(child: ValidationError) -> bool:
    return child.validator == "type" and not child.relative_path


def _types(forms: list[Any]) -> str:
    words = [NAMES.get(str(form.get("type")), "something else") for form in forms if isinstance(form, dict)]
    return listed(dict.fromkeys(words)) if words else "something else"


def _kind(value: Any) -> str:
    for kind, name in ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (list, "array")):
        if isinstance(value, kind):
            return NAMES[name]
    return NAMES["object"] if isinstance(value, dict) else NAMES["null"]


def _expected(error: ValidationError) -> str:
    schema = error.schema if isinstance(error.schema, dict) else {}
    return str(schema.get("x-expects") or f"of the form {error.validator_value}")


def _message(error: ValidationError, value: str) -> str:
    wanted = _wanted(error)
    told: dict[str, Callable[[], str]] = {
        "type": lambda: _wrong_type(error, value),
        "pattern": lambda: f"{value} is not {_expected(error)}",
        "enum": lambda: f"{value} is not {listed(map(str, wanted))}{_near(error)}",
        "const": lambda: f"must be {wanted}, not {value}",
        "minimum": lambda: f"{value} is less than {wanted}",
        "maximum": lambda: f"{value} is more than {wanted}",
        "exclusiveMinimum": lambda: f"{value} is not more than {wanted}",
        "minLength": lambda: "must not be empty",
        "maxLength": lambda: f"is longer than {wanted} characters",
        "minItems": lambda: f"needs at least {wanted} entries" if wanted > 1 else "needs at least one entry",
        "minProperties": lambda: "needs at least one entry",
        "uniqueItems": lambda: "holds the same entry twice",
    }
    rule = str(error.validator)
    return told[rule]() if rule in told else f"does not satisfy '{rule}' of the schema: {str(wanted)[:80]}"


def _near(error: ValidationError) -> str:
    return suggestion(error.instance, map(str, _wanted(error))) if isinstance(error.instance, str) else ""


def _wrong_type(error: ValidationError, value: str) -> str:
    wanted = _wanted(error)
    names = listed(NAMES[kind] for kind in (wanted if isinstance(wanted, list) else [wanted]))
    if isinstance(error.instance, str):
        return f"must be {names}, not {value}"
    return f"must be {names}, not {_kind(error.instance)}"
