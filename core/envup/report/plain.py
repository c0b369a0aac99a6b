"""One line an event, for logs and pipes; the output of programs with the machine's name before each line."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from envup.events import Event
from envup.report.renderer import Renderer
from envup.report.style import Style
from envup.report.text import clean, duration
from envup.report.words import Names


class Plain(Renderer):
    """Everything, in the order in which it happens. Warnings go to standard error."""

    def show(self, event: Event) -> None:
        if event.kind == "warning":
            warn(event, self.style)
        elif line := sentence(event, self.names, self.style):
            self.write(line + "\n")

    def program(self, machine: str, lines: Sequence[str]) -> None:
        bar = self.style.paint("dim", f"{machine}|")
        self.write("".join(f"{bar} {line}\n" for line in lines))


class Quiet(Renderer):
    """Warnings and failures only."""

    def show(self, event: Event) -> None:
        if event.kind == "warning":
            warn(event, self.style)

    def say(self, text: str) -> None:
        """Nothing."""


def sentence(event: Event, names: Names, style: Style) -> str:
    """An event as one line, empty for those that have none."""
    place = style.paint("bold", f"{event.machine}: ") if event.machine else ""
    text = clean(event.text)
    match event.kind:
        case "started":
            return f"{place}{names.doing(event.action)}{f': {text}' if text else ''}"
        case "consent":
            return f"{place}agreed: {text}" if event.data["agreed"] else ""
        case "progress" | "note":
            return f"{place}{text}"
        case "finished":
            took = style.paint("dim", f"({duration(event.data.get('seconds', 0.0))})")
            return f"{place}{style.paint('green', names.done(event.action))} {took}"
        case "failed":
            return f"{place}{style.paint('red', names.doing(event.action) + ' failed')}: {text}"
        case "skipped":
            waited = ", ".join(map(names.of_another, text.split(", "))) if text else ""
            return f"{place}{style.paint('yellow', names.doing(event.action) + ' skipped')}" + (
                f": it waits for {waited}" if waited else ""
            )
    return ""


def warn(event: Event, style: Style) -> None:
    """Tell a `warning` event on standard error."""
    place = f"{event.machine}: " if event.machine else ""
    sys.stderr.write(f"{place}{style.paint('yellow', 'warning')}: {clean(event.text)}\n")
