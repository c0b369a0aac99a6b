"""What happens, as values: the engine and the plugins emit events, `report/` renders them, nothing else prints.

Kinds, and the fields that each carries beside `machine`:

=========  ==========================================================================
plan       `data`: the plan as `Plan.as_json` gives it
started    `action`, `text`: the cause
progress   `action`, `text`: what is done now
output     `action`, `text`: whole or partial lines of a program, decoded with replacement
finished   `action`, `data["seconds"]`
failed     `action`, `text`: the error; `data`: `details`, `hint`, `log`, `tail`
skipped    `action`, `text`: what it waited for and did not come
consent    `text`: what reaches beyond the machine; `data`: `kind`, `digest`, `agreed`
note       `text`: something the user should know
warning    `text`: something the user should mend
=========  ==========================================================================
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from envup.value import NOTHING, Value, computed


class Event(Value):
    """One thing that happened. `time` is seconds since the epoch."""

    kind: str
    machine: str = ""
    action: str = ""
    text: str = ""
    data: Mapping[str, Any] = NOTHING
    time: float = computed(default_factory=time.time)


Emit = Callable[[Event], None]


def silent(_event: Event) -> None:
    """An `Emit` that drops every event."""
