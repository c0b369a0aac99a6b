"""What is wrong with an Envfile, by path, and where in the file that path is."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice
from typing import NamedTuple

from envup.envfile.tree import Path, Place, Tree, dotted
from envup.errors import Problem

MOST = 100
"""How many problems are told of one file."""


class Fault(NamedTuple):
    """`path` is told in the message; `key` puts it at the key instead of the value; `stray`: it is about a key too
    many, and what is beside that key can be looked into all the same."""

    path: Path
    message: str
    key: bool = False
    stray: bool = False


def place_of(tree: Tree, path: Path, *, key: bool = False) -> Place:
    """Line and column of a path, or of the nearest thing around it."""
    first, second = (tree.keys, tree.values) if key else (tree.values, tree.keys)
    while path not in first and path not in second and path:
        path = path[:-1]
    return first.get(path) or second.get(path) or (1, 1)


def problems(tree: Tree, name: str, faults: Iterable[Fault]) -> list[Problem]:
    """The faults as problems with positions, each once, in the order of the file."""
    found = {(*place_of(tree, fault.path, key=fault.key), dotted(fault.path), fault.message): None for fault in faults}
    return [Problem(name, line, column, path, message) for line, column, path, message in sorted(found)]


def unknown(key: str, known: Iterable[str]) -> str:
    """The message for a key that is not known."""
    return "unknown key" + suggestion(key, known)


def suggestion(word: str, known: Iterable[str]) -> str:
    """`, did you mean 'x'?` where something is near, else nothing."""
    near = get_close_matches(word.lower(), list(islice(known, MOST)), 1, 0.6) if len(word) <= 80 else []
    return f", did you mean '{near[0]}'?" if near else ""


def listed(words: Iterable[str], last: str = "or") -> str:
    """`a, b or c`."""
    *head, tail = words
    return f"{', '.join(head)} {last} {tail}" if head else tail
