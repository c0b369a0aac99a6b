"""Which steps have to do with mounts: what these read and write there is part of no machine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from envup.model import MachineSpec, Step

_PATTERN = re.compile(r"(?<![^\s'\"`;|&()<>=:,])/[^\s'\"`;|&()<>=:,]*[*?\[][^\s'\"`;|&()<>=:,]*")
"""An absolute path of a shell's that is one."""
_MOST = 1 << 20
"""Bytes that are looked at of a program."""


def is_named(spec: MachineSpec, step: Step, programs: Sequence[Path]) -> bool:
    """Whether a step names the place of a mount, a directory above it (but the root) or a pattern that fits one: in
    what it says, in `programs` that it runs, or by a variable with it. Errors: `OSError`."""
    if not spec.mounts:
        return False
    places = [_Place(mount.target) for mount in spec.mounts]
    said = "\n".join([*_texts(step.options), *map(_content, programs)])
    variables = {**spec.environment, **step.environment}
    named = [name for name, value in variables.items() if any(place.is_in(value) for place in places)]
    return any(place.is_in(said) for place in places) or any(
        re.search(rf"\b{re.escape(name)}\b", said) for name in named
    )


class _Place:
    def __init__(self, target: str) -> None:
        path = PurePosixPath(target)
        above = "|".join(re.escape(str(parent)) for parent in path.parents if parent != parent.parent)
        itself = rf"{re.escape(str(path))}(?![\w-])"
        self._name = re.compile(rf"{itself}|(?<![\w.-])(?:{above})(?:/\.?)*(?![\w./-])" if above else itself)
        self._parts = path.parts[1:]

    def is_in(self, text: str) -> bool:
        return bool(self._name.search(text)) or any(map(self._fits, _PATTERN.findall(text)))

    def _fits(self, pattern: str) -> bool:
        """Whether a shell would take the place, or what is above or in it, for a pattern below a directory."""
        parts = [part for part in pattern.split("/") if part]
        return bool(parts[0].strip("*")) and all(map(fnmatchcase, self._parts, parts))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts(inner)


def _content(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_MOST).decode(errors="replace")
