"""The .env beside an Envfile: `KEY=VALUE` lines, with `export`, quotes and comments."""

from __future__ import annotations

import re
from pathlib import Path

from envup.envfile.source import decode, read
from envup.errors import EnvfileError, Problem

LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=[ \t]*(.*)")
DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?')
SINGLE = re.compile(r"'([^']*)'\s*(?:#.*)?")
ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


def load(file: Path) -> dict[str, str]:
    """The variables of the file; none where it is missing or, as a virtual environment may be, a directory.
    Errors: `EnvfileError` with every line that does not hold, `UsageError` when it cannot be read."""
    if not file.is_file():
        return {}
    return parse(decode(read(file), file.name), file.name)


def parse(text: str, name: str) -> dict[str, str]:
    """The variables; of a name that comes twice the last value counts."""
    values: dict[str, str] = {}
    problems: list[Problem] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = LINE.fullmatch(line)
        value = _value(found.group(2)) if found else None
        if found and value is not None:
            values[found.group(1)] = value
        else:
            message = "the quote is not closed, or text follows it" if found else "this line is not KEY=VALUE"
            problems.append(Problem(name, number, 1, "", message))
    if problems:
        raise EnvfileError(problems)
    return values


def _value(text: str) -> str | None:
    """The value of a line's right side; None where a quote is not closed or something follows it."""
    if text.startswith('"'):
        found = DOUBLE.fullmatch(text)
        return re.sub(r"\\(.)", lambda part: ESCAPES.get(part[1], part[1]), found[1]) if found else None
    if text.startswith("'"):
        found = SINGLE.fullmatch(text)
        return found[1] if found else None
    return re.split(r"(?:^|\s)#", text, maxsplit=1)[0].strip()
