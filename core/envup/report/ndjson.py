"""Events as one JSON object a line, and a result object at the end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TextIO

from envup.events import Event
from envup.report.renderer import Renderer
from envup.report.style import Style


class Ndjson(Renderer):
    """Writes the fields of docs/cli.md. What an event carries beside its text lies on the same level."""

    wants_prose = False

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream, Style())

    def show(self, event: Event) -> None:
        self._line(as_json(event))

    def say(self, text: str) -> None:
        """Nothing: what is said to a person follows from the events."""

    def end(self, document: Mapping[str, Any]) -> None:
        self._line({"event": "result", **document})

    def _line(self, document: Mapping[str, Any]) -> None:
        self.write(json.dumps(document, default=str) + "\n")


def as_json(event: Event) -> dict[str, Any]:
    """An event with its documented fields; empty ones are left out."""
    fields: dict[str, Any] = {"event": event.kind, "time": round(event.time, 3)}
    for name, value in (("machine", event.machine), ("action", event.action)):
        if value:
            fields[name] = value
    if event.kind == "plan":
        return fields | {"plan": dict(event.data)}
    if event.text:
        fields["message" if event.kind == "failed" else "text"] = event.text
    return fields | {name: value for name, value in event.data.items() if name not in fields}
