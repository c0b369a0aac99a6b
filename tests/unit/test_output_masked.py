"""Events leave the engine without secrets."""

from __future__ import annotations

from envup.events import Event
from envup.output import masked


def test_every_text_of_an_event_is_masked() -> None:
    seen: list[Event] = []
    emit = masked(seen.append, frozenset({"hunter2!"}))
    emit(Event("failed", "web", "web/start", "no hunter2!", {"command": "x --token hunter2!", "exit_code": 1}))
    (event,) = seen
    assert event.text == "no ***"
    assert event.data == {"command": "x --token ***", "exit_code": 1}


def test_without_secrets_events_go_through_as_they_are() -> None:
    seen: list[Event] = []
    event = Event("note", text="hello")
    masked(seen.append, frozenset())(event)
    assert seen == [event]
