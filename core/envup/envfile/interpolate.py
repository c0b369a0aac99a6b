"""`${NAME}` in the values of an Envfile: from the process's environment, then from the .env beside the file.

A document between validation and the model holds *marks*, mappings of one key that no Envfile can contain: text that is
not interpolated, and text whose interpolated value is read as a number or a truth value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path as FilePath
from typing import Any

Path = tuple[str | int, ...]

REFERENCE = r"\$(?:(\$)|\{([A-Za-z_][A-Za-z0-9_]*)(?:(:-|:\?)((?:[^}$]|\$(?!\{))*))?\}|(\{))"
TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
VERBATIM = "\0verbatim"
CASTS: Mapping[str, Callable[[str], Any]] = {
    "number": float,
    "integer": int,
    "boolean": lambda text: TRUTH[text.lower()],
}


class Variables:
    """Where values come from. `used` remembers every name that was asked for, and its value or None; .env is read when
    the first name is not in the environment."""

    def __init__(self, environ: Mapping[str, str], dotenv: FilePath) -> None:
        self._environ, self._file = environ, dotenv
        self._dotenv: Mapping[str, str] | None = None
        self.used: dict[str, str | None] = {}

    def get(self, name: str) -> str | None:
        """The value, or None. Errors: `EnvfileError` when .env does not hold."""
        value = self._environ.get(name)
        if value is None:
            if self._dotenv is None:
                from envup.envfile.dotenv import load

                self._dotenv = load(self._file)
            value = self._dotenv.get(name)
        self.used[name] = value
        return value


def expand(text: str, variables: Variables) -> tuple[str, frozenset[str]]:
    """(the text with its references replaced, the values in it that came from outside the Envfile).
    Errors: `ValueError` saying which reference has no value or is malformed."""
    if "$" not in text:
        return text, frozenset()
    outside: set[str] = set()

    def replace(found: re.Match[str]) -> str:
        dollar, name, operator, word, broken = found.groups()
        if dollar:
            return "$"
        if broken:
            raise ValueError("'${' begins no reference; write ${NAME}, ${NAME:-default} or ${NAME:?message}, or $${")
        value = variables.get(name)
        if value is None or (operator and not value):
            return _without_value(name, operator, word)
        outside.add(value)
        return value

    return re.sub(REFERENCE, replace, text), frozenset(outside)


def _without_value(name: str, operator: str | None, word: str | None) -> str:
    if operator == ":-":
        return word or ""
    if operator == ":?":
        raise ValueError(f"{name} has no value: {word or 'it must be set'}")
    raise ValueError(f"{name} has no value; set it in the environment or in .env, or write ${{{name}:-default}}")


def walk(value: Any, path: Path, leaf: Callable[[str, Path], Any]) -> Any:
    """A copy of `value` in which every text that is not marked as verbatim went through `leaf`."""
    if isinstance(value, str):
        return leaf(value, path)
    if isinstance(value, list):
        return [walk(item, (*path, index), leaf) for index, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if mark := mark_of(value):
        kind, text = mark
        return text if kind == VERBATIM else CASTS[kind[1:]](leaf(text, path))
    return {key: walk(item, (*path, key), leaf) for key, item in value.items()}


def mark_of(value: Any) -> tuple[str, str] | None:
    """(kind, text) of a mark, None for everything else."""
    if isinstance(value, dict) and len(value) == 1:
        ((key, text),) = value.items()
        if key.startswith("\0"):
            return key, text
    return None


def marked(kind: str, text: str) -> dict[str, str]:
    """A mark; `kind` is `verbatim` or a key of `CASTS`."""
    return {f"\0{kind}": text}


def resolved(document: Any, variables: Variables) -> tuple[Any, Mapping[Path, frozenset[str]], Mapping[Path, str]]:
    """(the document without references and marks, by path what in a value came from outside the Envfile, by path each
    text with references as it was written). Errors: `ValueError` as `expand`."""
    outside: dict[Path, frozenset[str]] = {}
    written: dict[Path, str] = {}

    def leaf(text: str, path: Path) -> str:
        value, foreign = expand(text, variables)
        if foreign:
            outside[path] = foreign
        if "$" in text:
            written[path] = text
        return value

    return walk(document, (), leaf), outside, written
