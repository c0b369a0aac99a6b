"""`env help [VERB]`: all verbs in one line each, or one verb in full."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from envup.cli.answer import write
from envup.cli.options import COMMON, Argument, Arguments, Option
from envup.cli.table import VERBS
from envup.cli.table import module as module_of
from envup.errors import UsageError

OPTIONS = ()
ARGUMENTS = (Argument("TOPIC", "the verb to explain", count="?", kind="verb"),)

_FOOT = """
`env help VERB` explains one. Options follow the verb: `env up --json`. As `envup`, the same.
Any other `env …` runs the env(1) of the system."""


def run(arguments: Arguments) -> int:
    """Print help."""
    verb = arguments.topic
    write(explain(verb) if verb else overview())
    return 0


def overview() -> str:
    """All verbs."""
    lines = ["usage: env VERB [OPTIONS] [ARGUMENTS]", ""]
    return "\n".join([*lines, *(f"  {verb:<12}{summary}" for verb, summary in VERBS.items()), _FOOT, ""])


def explain(verb: str) -> str:
    """One verb with its arguments and options. Errors: `UsageError` for what is no verb."""
    if verb not in VERBS:
        raise UsageError(f"there is no verb '{verb}'", hint="`env help` lists them")
    module = import_module(module_of(verb))
    lines = [usage(verb, module.OPTIONS, module.ARGUMENTS), "", f"{VERBS[verb][:1].upper()}{VERBS[verb][1:]}."]
    if details := getattr(module, "DETAILS", ""):
        lines += ["", details.strip("\n")]
    if module.ARGUMENTS:
        lines += ["", *_columns([(argument.name, _of_argument(argument)) for argument in module.ARGUMENTS])]
    if module.OPTIONS:
        lines += ["", "Options:", *_columns([(_form(option), option.help) for option in module.OPTIONS])]
    lines += ["", "Options of all verbs:", *_columns([(_form(option), option.help) for option in COMMON])]
    return "\n".join(lines) + "\n"


def usage(verb: str, options: Sequence[Option], arguments: Sequence[Argument]) -> str:
    """The usage line of a verb."""
    forms = {"1": "{}", "?": "[{}]", "*": "[{}…]", "...": "{}…"}
    words = [f"[{option.name}{f' {option.value}' if option.value else ''}]" for option in options]
    words += [forms[argument.count].format(argument.name) for argument in arguments]
    return " ".join(["usage: env", verb, *words])


def _of_argument(argument: Argument) -> str:
    return f"{argument.help}: {', '.join(argument.choices)}" if argument.choices else argument.help


def _form(option: Option) -> str:
    names = f"{option.short}, {option.name}" if option.short else option.name
    return f"{names} {option.value}" if option.value else names


def _columns(pairs: Sequence[tuple[str, str]]) -> list[str]:
    wide = max(len(left) for left, _ in pairs)
    return [f"  {left:<{wide}}  {right}" for left, right in pairs]
