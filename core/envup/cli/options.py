"""Options and arguments as data, and the parser that reads them: help and completion come from the same tables.

Smaller than argparse, and faster to load and to build than it, which is felt in verbs that answer within milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from envup.errors import UsageError


class Option:
    """`--name`, also `-short`. `value` is the placeholder of its value, empty for a flag. `many` may be given several
    times and is a list. `convert` makes the value from its text and raises `ValueError` with that and the reason."""

    __slots__ = ("convert", "default", "help", "key", "many", "name", "short", "value")

    def __init__(
        self,
        name: str,
        help: str,
        *,
        value: str = "",
        short: str = "",
        many: bool = False,
        default: Any = None,
        convert: Callable[[str], Any] = str,
    ) -> None:
        self.name, self.help, self.value, self.short, self.many = name, help, value, short, many
        self.default = default if value else False
        self.convert = convert
        self.key = name.lstrip("-").replace("-", "_")


class Argument:
    """A positional argument. `count` is `1`, `?` (may be left out), `*` (any number) or `...` (all that follows,
    verbatim, options and `--` included). `kind` tells completion what it is: `machine`, `file` or empty."""

    __slots__ = ("choices", "count", "help", "key", "kind", "name")

    def __init__(self, name: str, help: str, *, count: str = "1", kind: str = "", choices: Sequence[str] = ()) -> None:
        self.name, self.help, self.count, self.kind, self.choices = name, help, count, kind, tuple(choices)
        self.key = name.lower().replace("-", "_")


class Arguments:
    """What was given. Beside the common options it has one attribute for each option and argument of the verb."""

    verb: str
    file: Path | None
    json: bool
    quiet: bool
    verbose: bool
    no_color: bool
    wait: float
    yes: bool
    help: bool

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def seconds(text: str) -> float:
    """A time that is not negative. Errors: `ValueError`."""
    try:
        value = float(text.removesuffix("s"))
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise ValueError(f"'{text}' must be a number of seconds")
    return value


MACHINE = Argument("MACHINE", "name of a machine; may be left out where there is one", count="?", kind="machine")
MACHINES = Argument("MACHINE", "names of machines; all when none is given", count="*", kind="machine")

COMMON = (
    Option("--file", "the Envfile; else the nearest one here or above", value="PATH", convert=Path),
    Option("--json", "print JSON and nothing else on standard output; never ask"),
    Option("--quiet", "print failures and warnings only"),
    Option("--verbose", "print all output of programs, also on a terminal"),
    Option("--no-color", "no colours, as with NO_COLOR in the environment"),
    Option(
        "--wait", "wait so long for another command on this environment", value="SECONDS", default=0.0, convert=seconds
    ),
    Option("--yes", "agree to losing what would be asked about; for what reaches beyond the machines there is --trust"),
    Option("--help", "explain this verb", short="-h"),
)


def parse(verb: str, argv: Sequence[str], options: Sequence[Option], arguments: Sequence[Argument]) -> Arguments:
    """Read what follows the verb. Errors: `UsageError` with the nearest option, nothing half-read."""
    return _Parser(verb, options, arguments).parse(list(argv))


class _Parser:
    def __init__(self, verb: str, options: Sequence[Option], arguments: Sequence[Argument]) -> None:
        self._verb, self._arguments = verb, arguments
        self._options = {name: option for option in (*COMMON, *options) for name in (option.name, option.short) if name}
        self._found = Arguments()
        self._found.verb = verb
        for option in self._options.values():
            setattr(self._found, option.key, [] if option.many else option.default)

    def parse(self, argv: list[str]) -> Arguments:
        verbatim = any(argument.count == "..." for argument in self._arguments)
        positional: list[str] = []
        while argv:
            word = argv.pop(0)
            if verbatim and (word == "--" or word == "-" or not word.startswith("-")):
                positional = [word, *argv]
                break
            if word == "--":
                positional += argv
                break
            if word.startswith("-") and word != "-":
                self._option(word, argv)
            else:
                positional.append(word)
        if not self._found.help:
            self._place(positional)
        return self._found

    def _option(self, word: str, argv: list[str]) -> None:
        name, equals, text = word.partition("=")
        if not word.startswith("--") and len(word) > 2:
            name, equals, text = word[:2], "joined", word[2:].removeprefix("=")
        option = self._options.get(name)
        if option is None:
            raise self._error(f"unknown option '{name}'{self._nearest(name)}")
        if not option.value:
            if equals:
                raise self._error(f"option '{name}' takes no value")
            setattr(self._found, option.key, True)
            return
        if not equals:
            if not argv:
                raise self._error(f"option '{name}' needs {option.value}")
            text = argv.pop(0)
        self._set(option, name, text)

    def _set(self, option: Option, name: str, text: str) -> None:
        try:
            value = option.convert(text)
        except ValueError as error:
            raise self._error(f"option '{name}': {error}") from error
        if option.many:
            getattr(self._found, option.key).append(value)
        else:
            setattr(self._found, option.key, value)

    def _place(self, words: list[str]) -> None:
        for argument in self._arguments:
            if argument.count in ("*", "..."):
                setattr(self._found, argument.key, words)
                words = []
                continue
            if not words and argument.count == "1":
                raise self._error(f"{argument.name} is missing")
            word = words.pop(0) if words else None
            if word is not None and argument.choices and word not in argument.choices:
                raise self._error(f"{argument.name} is one of {', '.join(argument.choices)}, not '{word}'")
            setattr(self._found, argument.key, word)
        if words:
            raise self._error(f"'{words[0]}' is one argument too many")

    def _nearest(self, name: str) -> str:
        from difflib import get_close_matches

        near = get_close_matches(name, [known for known in self._options if known.startswith("--")], 1)
        return f", did you mean '{near[0]}'?" if near else ""

    def _error(self, text: str) -> UsageError:
        return UsageError(f"{self._verb}: {text}", hint=f"`env help {self._verb}` explains it")
