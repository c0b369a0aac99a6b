"""Events leave the engine without secrets."""

from __future__ import annotations

from envup.events import Event
from envup.output import masked, masked_output


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


def test_a_secret_that_is_split_between_two_events_is_masked_and_nothing_is_lost() -> None:
    seen: list[Event] = []
    with masked_output(seen.append, frozenset({"hünter2!"})) as emit:
        for text in ("a hü", "nter", "2! b h", "ü"):
            emit(Event("output", text=text))
        emit(Event("progress", text="on"))
    assert "".join(event.text for event in seen if event.kind == "output") == "a *** b hü"
    assert [event.text for event in seen if event.kind == "progress"] == ["on"]
