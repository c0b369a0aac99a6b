"""A tree against the schema. A plain scalar that is no text where text is wanted is read as it was written, and an
interpolated one as the number or truth value that is wanted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from referencing import Registry

from envup.envfile.explain import explain
from envup.envfile.faults import Fault
from envup.envfile.interpolate import CASTS, TRUTH, Variables, expand, marked
from envup.envfile.tree import Path, Tree

ROUNDS = 4
"""How often scalars are read anew; each round can bring another form of a value into sight."""


class Outcome(NamedTuple):
    """`written` is the document with marks and without values from outside, `read` with all values."""

    written: Any
    read: Any
    faults: list[Fault]


def validate(
    tree: Tree, schema: Mapping[str, Any], verbatim: Mapping[str, Iterable[str]], variables: Variables
) -> Outcome:
    """All that is wrong by interpolation and by the schema."""
    reading = _Reading(tree, verbatim, variables)
    # A registry of nothing: a schema is never fetched from anywhere.
    validator = Validator(schema, registry=Registry())
    errors: list[ValidationError] = []
    for _ in range(ROUNDS):
        errors = list(validator.iter_errors(reading.read))
        if not reading.adapt(errors):
            break
    return Outcome(reading.finished(), reading.read, [*reading.faults, *reading.explained(errors)])


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    """`pattern`, where `$` is the very end as in ECMA-262, and not before a last line break too."""
    strict = re.sub(r"\$$", r"\\Z", pattern)
    if isinstance(instance, str) and not re.search(strict, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


extended: Callable[..., Any] = extend
Validator = extended(Draft202012Validator, {"pattern": _pattern})


class _Reading:
    """The document as written and as read, side by side."""

    def __init__(self, tree: Tree, verbatim: Mapping[str, Iterable[str]], variables: Variables) -> None:
        self._tree, self._verbatim, self._variables = tree, verbatim, variables
        self._interpolated: dict[Path, str] = {}
        self._marks: dict[Path, Any] = {}
        self._failed: set[Path] = set()
        self.faults: list[Fault] = []
        self.written = tree.data
        self.read = self._expanded(tree.data, ())

    def _expanded(self, value: Any, path: Path) -> Any:
        if _is_free(path):
            return value
        if isinstance(value, dict):
            return {key: self._expanded(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self._expanded(item, (*path, index)) for index, item in enumerate(value)]
        return self._text(value, path) if isinstance(value, str) and "$" in value else value

    def _text(self, text: str, path: Path) -> str:
        if _is_verbatim(path, self._verbatim):
            self._marks[path] = marked("verbatim", text)
            return text
        try:
            value, _ = expand(text, self._variables)
        except ValueError as error:
            self.faults.append(Fault(path, str(error)))
            self._failed.add(path)
            return text
        self._interpolated[path] = text
        return value

    def adapt(self, errors: Iterable[ValidationError]) -> bool:
        """Read scalars anew where another type is wanted; whether any was."""
        changed = False
        for error in _leaves(errors):
            if error.validator == "type" and not isinstance(error.instance, dict | list) and error.instance is not None:
                wanted: Any = error.validator_value
                kinds = wanted if isinstance(wanted, list) else [wanted]
                changed |= self._adapt_one(tuple(error.absolute_path), error.instance, kinds)
        return changed

    def _adapt_one(self, path: Path, value: Any, wanted: list[str]) -> bool:
        if "string" in wanted and not isinstance(value, str) and path in self._tree.plain:
            self.read = _replaced(self.read, path, self._tree.plain[path])
            self.written = _replaced(self.written, path, self._tree.plain[path])
            return True
        kind = next((kind for kind in wanted if kind in CASTS), None)
        if kind is None or not isinstance(value, str) or value != value.strip():
            return False
        if path in self._interpolated:
            return self._cast(path, value, kind)
        if kind == "boolean" and path in self._tree.plain and value.lower() in TRUTH:
            self.read = _replaced(self.read, path, TRUTH[value.lower()])
            self.written = _replaced(self.written, path, TRUTH[value.lower()])
            return True
        return False

    def _cast(self, path: Path, value: str, kind: str) -> bool:
        if kind != "boolean" and not re.fullmatch(r"[-+]?[0-9]{1,18}(\.[0-9]{1,18})?", value):
            return False
        try:
            self.read = _replaced(self.read, path, CASTS[kind](value))
        except (ValueError, KeyError):
            return False
        self._marks[path] = marked(kind, self._interpolated[path])
        return True

    def explained(self, errors: Iterable[ValidationError]) -> list[Fault]:
        """The errors in words, less those that follow from others."""
        found = [fault for error in errors for fault in explain(error, self._shown)]
        astray = {fault.path[:-1] for fault in found if fault.stray and "did you mean" in fault.message}
        return [
            fault
            for fault in found
            if fault.path not in self._failed
            and not (fault.message.startswith("needs one of the keys") and fault.path in astray)
        ]

    def _shown(self, path: Path, value: Any) -> str:
        """A value in a message: as written, because what came from outside may be secret."""
        text = self._interpolated.get(path, value)
        plain = self._tree.plain.get(path) if not isinstance(value, str) else None
        told = repr(text) if plain is None else plain
        return told if len(told) <= 60 else f"{told[:57]}…"

    def finished(self) -> Any:
        """The document as written, with its marks."""
        document = self.written
        for path, mark in self._marks.items():
            document = _replaced(document, path, mark)
        return document


def _is_free(path: Path) -> bool:
    return bool(path) and str(path[-1]).startswith("x-") and path[:-1] != ("machines",)


def _is_verbatim(path: Path, kinds: Mapping[str, Iterable[str]]) -> bool:
    for head, key in ((path, ""), (path[:-1], path[-1] if path else "")):
        if len(head) >= 3 and head[-3] == "provision" and isinstance(head[-2], int):
            return str(key) in kinds.get(str(head[-1]), ())
    return False


def _leaves(errors: Iterable[ValidationError]) -> Iterator[ValidationError]:
    """The errors and those within them; of several forms only those of the value's type, if there are any."""
    for error in errors:
        yield error
        within = error.context or []
        others = {child.relative_schema_path[0] for child in within if _of_type(child)}
        if {child.relative_schema_path[0] for child in within} - others:
            within = [child for child in within if child.relative_schema_path[0] not in others]
        yield from _leaves(within)


def _of_type(child: ValidationError) -> bool:
    return child.validator == "type" and not child.relative_path


def _replaced(value: Any, path: Path, new: Any) -> Any:
    """A copy of a document in which the value at `path` is another; what is beside the path is shared."""
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = _replaced(value[path[0]], path[1:], new)
    return copy
