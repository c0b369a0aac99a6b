"""YAML text to plain data, with the position of every key and value and the text of every plain scalar.

Built from the parser's events, so that nesting, aliases and size are bounded before anything is expanded, and a plain
scalar is read by the rules of YAML 1.2: `yes`, `0644`, `22:22` and `2024-01-01` are text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import isfinite
from typing import Any, NamedTuple

import yaml

from envup.errors import Problem

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DEPTH = 40
"""How deep an Envfile may nest, aliases expanded."""
VALUES = 10_000
"""How many values an Envfile may hold, aliases expanded."""

EMPTY = "the file is empty; it must say at least 'image'"
TAG = "tag:yaml.org,2002:"
NULLS = frozenset(("", "~", "null", "Null", "NULL"))
BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
FLOAT = re.compile(
    r"[-+]?([0-9]{0,40}\.[0-9]{1,40}|[0-9]{1,40}\.)([eE][-+]?[0-9]{1,4})?|[0-9]{1,40}[eE][-+]?[0-9]{1,4}"
)

Path = tuple[str | int, ...]
Place = tuple[int, int]


class Tree(NamedTuple):
    """`data` is the document; `values` and `keys` give line and column of each by its path, counted from 1; `plain` the
    text of each plain scalar; `problems` what is wrong with it as YAML."""

    data: Any
    values: dict[Path, Place]
    keys: dict[Path, Place]
    plain: dict[Path, str]
    problems: list[Problem]


class _Node(NamedTuple):
    """A value before aliases are expanded: `content` is text, a list of nodes or a list of pairs of nodes."""

    kind: str
    content: Any
    place: Place
    plain: bool = False
    tag: str | None = None


class _Refused(Exception):
    """Reading cannot go on; carries the position and the message."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place, self.message = place, message


def parse(text: str, name: str) -> Tree:
    """Read one document; never raises for what the text says. `problems` is empty when all is well."""
    try:
        node = _Composer(text).document()
        return _Constructor(name).tree(node)
    except _Refused as refused:
        message, place = refused.message, refused.place
    except yaml.MarkedYAMLError as error:
        quoted = "quoted scalar" in (error.context or "") and "end of stream" in (error.problem or "")
        mark = (error.context_mark if quoted else None) or error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        message = _plain_words(error, text, place)
    except yaml.YAMLError as error:
        place, message = (1, 1), f"this is not YAML: {' '.join(str(error).split())}"
    return Tree(None, {}, {}, {}, [Problem(name, *place, "", message)])


def resolve(text: str) -> Any:
    """The value of a plain scalar by the core schema of YAML 1.2, less octal and hexadecimal numbers, infinities and
    integers of more than 18 digits, which stay text."""
    if text in NULLS:
        return None
    if text in BOOLEANS:
        return BOOLEANS[text]
    if INTEGER.fullmatch(text):
        return int(text)
    if FLOAT.fullmatch(text) and isfinite(number := float(text)):
        return number
    return text


def _plain_words(error: yaml.MarkedYAMLError, text: str, place: Place) -> str:
    lines = text.split("\n")
    line = lines[place[0] - 1] if place[0] <= len(lines) else ""
    before = line[: len(line) - len(line.lstrip())]
    if "\t" in before or line[place[1] - 1 : place[1]] == "\t":
        return "a tab cannot indent; use spaces"
    if "flow" in (error.context or "") and "${" in line:
        return "a value with ${…} within [] or {} must be quoted"
    said = ", ".join(part for part in (error.context, error.problem) if part)
    return f"this is not YAML: {' '.join(said.split())}"


class _Composer:
    """Events to nodes. An alias gives the node of its anchor, which must be complete."""

    def __init__(self, text: str) -> None:
        self._loader: Any = LOADER(text)
        self._anchors: dict[str, _Node | None] = {}

    def document(self) -> _Node:
        try:
            self._next()
            if isinstance(self._next(), yaml.StreamEndEvent):
                raise _Refused((1, 1), EMPTY)
            node = self._node(self._next(), 0)
            if node.kind == "scalar" and node.plain and node.content in NULLS:
                raise _Refused(node.place, EMPTY)
            self._next()
            if not isinstance(event := self._next(), yaml.StreamEndEvent):
                raise _Refused(_place(event), "a second document begins here; an Envfile is one document")
            return node
        finally:
            self._loader.dispose()

    def _next(self) -> Any:
        return self._loader.get_event()

    def _node(self, event: Any, depth: int) -> _Node:
        place = _place(event)
        if depth > DEPTH:
            raise _Refused(place, f"this is nested more than {DEPTH} levels deep")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), place)
        if event.anchor:
            self._anchors[event.anchor] = None
        node = self._fresh(event, place, depth)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, anchor: str, place: Place) -> _Node:
        if anchor not in self._anchors:
            raise _Refused(place, f"the alias *{anchor} has no anchor &{anchor} before it")
        node = self._anchors[anchor]
        if node is None:
            raise _Refused(place, f"the alias *{anchor} stands within its own anchor")
        return node

    def _fresh(self, event: Any, place: Place, depth: int) -> _Node:
        if isinstance(event, yaml.ScalarEvent):
            return _Node("scalar", event.value, place, event.implicit[0], event.tag)
        if isinstance(event, yaml.SequenceStartEvent):
            return _Node("sequence", list(self._items(yaml.SequenceEndEvent, depth)), place, tag=event.tag)
        parts = list(self._items(yaml.MappingEndEvent, depth))
        return _Node("mapping", list(zip(parts[::2], parts[1::2], strict=True)), place, tag=event.tag)

    def _items(self, end: type, depth: int) -> Iterator[_Node]:
        while not isinstance(event := self._next(), end):
            yield self._node(event, depth + 1)


def _place(event: Any) -> Place:
    return event.start_mark.line + 1, event.start_mark.column + 1


class _Constructor:
    """Nodes to data, aliases and merges expanded."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._count = 0
        self._tree = Tree(None, {}, {}, {}, [])

    def tree(self, node: _Node) -> Tree:
        return self._tree._replace(data=self._value(node, ()))

    def _problem(self, place: Place, path: Path, message: str) -> None:
        self._tree.problems.append(Problem(self._name, *place, dotted(path), message))

    def _count_one(self, place: Place) -> None:
        self._count += 1
        if self._count > VALUES:
            raise _Refused(place, f"the file holds more than {VALUES} values, its aliases expanded")

    def _value(self, node: _Node, path: Path) -> Any:
        self._count_one(node.place)
        if len(path) > DEPTH:
            raise _Refused(node.place, f"with its aliases expanded this is nested more than {DEPTH} levels deep")
        self._tree.values[path] = node.place
        self._check_tag(node, path)
        if node.kind == "scalar":
            return self._scalar(node, path)
        if node.kind == "sequence":
            return [self._value(item, (*path, index)) for index, item in enumerate(node.content)]
        return self._mapping(node, path)

    def _check_tag(self, node: _Node, path: Path) -> None:
        fitting = {"scalar": "str", "sequence": "seq", "mapping": "map"}[node.kind]
        if node.tag not in (None, "!", TAG + fitting):
            tag = node.tag.replace(TAG, "!!") if node.tag else ""
            self._problem(node.place, path, f"the tag {tag[:60]} is not allowed; write the value without it")

    def _scalar(self, node: _Node, path: Path) -> Any:
        text: str = node.content
        if found := re.search("[\x00\ud800-\udfff]", text):
            self._problem(node.place, path, f"the character U+{ord(found.group()):04X} is not allowed here")
        if not node.plain or node.tag:
            return text
        self._tree.plain[path] = text
        return resolve(text)

    def _mapping(self, node: _Node, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value, place in self._pairs(node, path):
            self._count_one(place)
            if key in result:
                continue
            self._tree.keys[*path, key] = place
            result[key] = self._value(value, (*path, key))
        return result

    def _pairs(self, node: _Node, path: Path) -> Iterator[tuple[str, _Node, Place]]:
        """Own pairs first, then what is merged in; the first of a name counts."""
        own: dict[str, Place] = {}
        merged: list[_Node] = []
        for key, value in node.content:
            if key.kind == "scalar" and key.plain and key.content == "<<":
                merged.append(value)
            elif problem := _key_problem(key):
                self._problem(key.place, path, problem)
            elif key.content in own:
                first = own[key.content][0]
                self._problem(key.place, (*path, key.content), f"duplicate key; the first is on line {first}")
            else:
                own[key.content] = key.place
                yield key.content, value, key.place
        for value in merged:
            yield from self._merged(value, path, 0)

    def _merged(self, node: _Node, path: Path, depth: int) -> Iterator[tuple[str, _Node, Place]]:
        self._count_one(node.place)
        if node.kind == "mapping":
            yield from self._pairs(node, path)
        elif node.kind == "sequence" and depth == 0:
            for item in node.content:
                yield from self._merged(item, path, depth + 1)
        else:
            self._problem(node.place, path, "only a mapping, or a list of mappings, can be merged with '<<'")


def _key_problem(key: _Node) -> str:
    if key.kind != "scalar":
        return "a key must be text, not a list or a mapping"
    if key.plain and key.content in NULLS:
        return "a key is missing before the colon"
    if key.tag not in (None, "!", TAG + "str"):
        return "a key must be plain text, without a tag"
    if re.search("[\x00-\x1f\x7f\ud800-\udfff]", key.content):
        return "a key must be one line of text"
    return ""


def dotted(path: Path) -> str:
    """A path as messages write it: `machines.web.ports[0]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")[:200]
