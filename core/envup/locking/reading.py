"""A lock file from its text. All that does not hold is told at once, with its lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from envup.errors import EnvfileError, Problem, UsageError
from envup.locking.document import FORMAT, Lock, LockedImage, Pair
from envup.model import Pin

_MARK = re.compile(r"(<{7}|\|{7}|={7}|>{7})( |$)")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
ANEW = "`env lock` writes it anew once it is removed; version control has what it was"


def read(path: Path) -> Lock | None:
    """What is there; None where there is no lock file. Errors: `EnvfileError` with the lines that do not hold,
    `UsageError` where it cannot be read."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise EnvfileError([Problem(path.name, 0, 0, "", f"it is not UTF-8: {error.reason}")], hint=ANEW) from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    return parse(text, path.name)


def parse(text: str, name: str) -> Lock:
    """A lock file from its text; `name` is what errors call it. Errors: `EnvfileError` with all lines that do not
    hold."""
    lines = [(number, line.rstrip("\r")) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    marks = [number for number, line in lines if _MARK.match(line)]
    if marks:
        problems = [Problem(name, number, 0, "", "a conflict of a merge is not resolved here") for number in marks]
        raise EnvfileError(problems, hint=_remedy(line for _, line in lines))
    reader = _Reader(name)
    for number, line in lines:
        if not line.startswith("#"):
            reader.take(number, line)
    return reader.lock()


def _remedy(lines: Iterable[str]) -> str:
    """What to do about a conflict: lines of two sides make no image that there is."""
    from shlex import join
    from tomllib import loads

    images, inside = set[str](), False
    for line in lines:
        if _MARK.match(line):
            inside = not line.startswith(">")
        elif inside:
            with suppress(ValueError):
                path, _ = _fact(loads(line))
                images |= {path[2]} if path[0] == "image" and len(path) > 2 else set()
    keep = "keep both sides, but one of two lines of one fact, and remove the marks; then run"
    return f"{keep} `{join(['env', 'lock', *(['--update', *sorted(images)] if images else [])])}`"


class _Reader:
    """Takes the facts one by one; what does not hold is told at the end."""

    def __init__(self, name: str) -> None:
        from tomllib import loads

        self._name, self._loads = name, loads
        self._problems: list[Problem] = []
        self._lines: dict[tuple[str, ...], int] = {}
        self._images: dict[Pair, dict[str, str]] = {}
        self._plugins: dict[Pair, str] = {}
        self._steps: dict[Pair, str] = {}
        self._order: dict[str, tuple[str, ...]] = {}

    def take(self, number: int, line: str) -> None:
        """One line. Errors: `EnvfileError` at once for another format: the rest would be misread."""
        try:
            path, value = _fact(self._loads(line))
        except ValueError as error:
            self._problem(number, f"no fact of a lock file: {error}")
            return
        if path == ("format",):
            self._require_format(number, value)
        elif not self._lines:
            self._problem(number, "the format does not stand first")
        if path in self._lines:
            self._problem(number, f"told twice, in line {self._lines[path]} as well: keep one")
        elif path != ("format",) and not self._place(path, value):
            self._problem(number, f"unknown, or of the wrong kind: {line.strip()}")
        self._lines[path] = number

    def _require_format(self, number: int, value: Any) -> None:
        if isinstance(value, int) and value > FORMAT:
            text = f"format {value} is newer than {FORMAT}, the newest that this envup knows"
            raise EnvfileError([Problem(self._name, number, 0, "", text)], hint="update envup")
        if value != FORMAT:
            self._problem(number, f"no format that there is: {value!r}")

    def _place(self, path: tuple[str, ...], value: Any) -> bool:
        """Whether it is a fact."""
        match path, value:
            case ["image", source, title, *names], str() if names:
                return self._place_of_image((source, title), ".".join(names), value)
            case ["plugin", kind, name], str():
                self._plugins[kind, name] = value
            case ["step", machine, name], str() if _DIGEST.fullmatch(value):
                self._steps[machine, name] = value
            case ["order", machine], list() if all(isinstance(name, str) for name in value):
                self._order[machine] = tuple(value)
            case _:
                return False
        return True

    def _place_of_image(self, place: Pair, name: str, value: str) -> bool:
        self._images.setdefault(place, {})[name] = value
        return name != "digest" or _DIGEST.fullmatch(value) is not None

    def lock(self) -> Lock:
        """All that was taken. Errors: `EnvfileError`."""
        if ("format",) not in self._lines and not self._problems:
            self._problem(0, "it does not say its format")
        images = {place: image for place, facts in self._images.items() if (image := self._image(place, facts))}
        if self._problems:
            raise EnvfileError(self._problems, hint=ANEW)
        return Lock(images, self._plugins, self._steps, self._order)

    def _image(self, place: Pair, facts: Mapping[str, str]) -> LockedImage | None:
        how = {name: value for name, value in facts.items() if name not in ("reference", "digest")}
        if "reference" not in facts or (how and "digest" not in facts):
            number = min(number for path, number in self._lines.items() if path[:3] == ("image", *place))
            missing = "digest" if "reference" in facts else "reference"
            self._problem(number, f"the {missing} of the image {place[1]} is missing")
            return None
        return LockedImage(facts["reference"], Pin(facts["digest"], how) if "digest" in facts else None)

    def _problem(self, number: int, text: str) -> None:
        self._problems.append(Problem(self._name, number, 0, "", text))


def _fact(table: Mapping[str, Any]) -> tuple[tuple[str, ...], Any]:
    """The one key of a line and its value. Errors: `ValueError`."""
    path: list[str] = []
    value: Any = table
    while isinstance(value, dict):
        if len(value) != 1:
            raise ValueError("it is a table")
        ((word, value),) = value.items()
        path.append(word)
    return tuple(path), value
