"""Events as they are shown: plain lines, NDJSON, and failures in full."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from envup.events import Event
from envup.report.choose import choose
from envup.report.live import Live
from envup.report.ndjson import Ndjson
from envup.report.plain import Plain, Quiet
from envup.report.renderer import Renderer
from envup.report.style import Style

PLAN: Mapping[str, Any] = {
    "actions": [
        {"id": "web/create", "machine": "web", "detail": ""},
        {"id": "web/provision:1", "machine": "web", "detail": "app"},
    ]
}
FAILURE = Event(
    "failed",
    "web",
    "web/provision:1",
    "the program exited with 3",
    {"details": "one\ntwo", "command": "sh app.sh", "hint": "mend it, then `env up`", "log": "/var/log/web.log"},
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Broken(io.StringIO):
    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


def feed(renderer: Renderer, *events: Event) -> None:
    for event in events:
        renderer.emit(event)


def story() -> tuple[Event, ...]:
    return (
        Event("plan", data=PLAN),
        Event("started", "web", "web/create", "does not exist"),
        Event("finished", "web", "web/create", data={"seconds": 0.25}),
        Event("started", "web", "web/provision:1", "has not run"),
        Event("output", "web", "web/provision:1", "one\ntw"),
        Event("output", "web", "web/provision:1", "o"),
    )


@pytest.mark.parametrize(
    ("options", "terminal", "term", "kind"),
    [
        ({}, False, "xterm", Plain),
        ({}, True, "xterm", Live),
        ({}, True, "dumb", Plain),
        ({"verbose": True}, True, "xterm", Plain),
        ({"quiet": True}, True, "xterm", Quiet),
        ({"json": True}, True, "xterm", Ndjson),
        ({"json": True, "quiet": True}, False, "xterm", Ndjson),
    ],
)
def test_the_renderer_fits_options_and_terminal(
    options: dict[str, bool], terminal: bool, term: str, kind: type[Renderer]
) -> None:
    stream = Terminal() if terminal else io.StringIO()
    assert type(choose(**options, stream=stream, environ={"TERM": term})) is kind


def test_colour_is_for_terminals_and_can_be_refused() -> None:
    for stream, color, expected in ((Terminal(), True, True), (Terminal(), False, False), (io.StringIO(), True, False)):
        assert choose(stream=stream, color=color, verbose=True, environ={"TERM": "xterm"}).style.color is expected


def test_plain_lines_tell_each_event_with_its_machine() -> None:
    out = io.StringIO()
    renderer = Plain(out, Style())
    feed(renderer, *story(), Event("finished", "web", "web/provision:1", data={"seconds": 3}))
    assert out.getvalue().splitlines() == [
        "web: creating: does not exist",
        "web: created (0.2 s)",
        "web: provisioning app: has not run",
        "web| one",
        "web| two",
        "web: provisioned app (3.0 s)",
    ]


def test_a_skipped_action_names_what_it_waited_for() -> None:
    out = io.StringIO()
    feed(Plain(out, Style()), Event("plan", data=PLAN), Event("skipped", "db", "db/start", "web/provision:1"))
    assert out.getvalue() == "db: starting skipped: it waits for web: provisioning app\n"


def test_a_failure_is_told_in_full_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    renderer = Plain(io.StringIO(), Style())
    feed(renderer, *story(), FAILURE)
    renderer.result(ok=False)
    assert capsys.readouterr().err.splitlines() == [
        "",
        "✗ web: provisioning app failed: the program exited with 3",
        "  command: sh app.sh",
        "  last 2 lines of output:",
        "  | one",
        "  | two",
        "  whole log: /var/log/web.log",
        "  to do: mend it, then `env up`",
    ]


def test_details_that_are_not_the_output_are_told_too(capsys: pytest.CaptureFixture[str]) -> None:
    renderer = Plain(io.StringIO(), Style())
    feed(renderer, Event("failed", "web", "web/create", "no space", {"details": "the disk is full\nquite full"}))
    renderer.result(ok=False)
    assert capsys.readouterr().err == "\n✗ web: creating failed: no space\n  the disk is full\n  quite full\n"


def test_a_failed_step_without_a_hint_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    renderer = Plain(io.StringIO(), Style())
    feed(renderer, Event("failed", "web", "web/provision:1", "exit code 3"))
    renderer.result(ok=False)
    assert "`env up` goes on at it; `env shell web`" in capsys.readouterr().err


def test_a_failure_shows_no_more_than_twenty_lines(capsys: pytest.CaptureFixture[str]) -> None:
    renderer = Quiet(io.StringIO(), Style())
    text = "".join(f"line {number}\n" for number in range(100))
    feed(renderer, Event("output", "web", "web/provision:1", text), FAILURE)
    renderer.result(ok=False)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("  | ")]
    assert (lines[0], lines[-1], len(lines)) == ("  | line 80", "  | line 99", 20)


def test_a_failure_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    renderer = Plain(io.StringIO(), Style())
    feed(renderer, FAILURE)
    renderer.result(ok=False)
    capsys.readouterr()
    renderer.result(ok=False)
    assert capsys.readouterr().err == ""


def test_quiet_tells_warnings_and_failures_alone(capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    renderer = Quiet(out, Style())
    feed(renderer, *story(), Event("note", text="a note"), Event("warning", "web", text="mend this"), FAILURE)
    renderer.say("done")
    renderer.result(ok=False)
    assert out.getvalue() == ""
    told = capsys.readouterr().err
    assert "web: warning: mend this" in told
    assert "provisioning app failed" in told


def test_ndjson_is_one_object_a_line_and_ends_with_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    renderer = Ndjson(out)
    feed(renderer, *story(), FAILURE)
    renderer.say("words for people")
    renderer.result(ok=False, failed=["web/provision:1"])
    documents = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [document["event"] for document in documents] == [
        "plan", "started", "finished", "started", "output", "output", "failed", "result",
    ]  # fmt: skip
    assert documents[0]["plan"] == PLAN
    assert documents[2]["seconds"] == 0.25
    assert documents[6]["tail"] == ["one", "two"]
    assert (documents[6]["message"], documents[6]["log"]) == ("the program exited with 3", "/var/log/web.log")
    assert documents[7] == {"event": "result", "ok": False, "failed": ["web/provision:1"]}
    assert capsys.readouterr() == ("", "")


def test_data_cannot_hide_the_fields_of_an_event() -> None:
    out = io.StringIO()
    feed(Ndjson(out), Event("finished", "web", "web/start", data={"event": "x", "machine": "y", "seconds": 1}))
    document = json.loads(out.getvalue())
    assert (document["event"], document["machine"], document["seconds"]) == ("finished", "web", 1)


@pytest.mark.parametrize("kind", [Plain, Quiet])
def test_output_of_programs_cannot_drive_the_terminal(kind: type[Renderer], capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    renderer = kind(out, Style())
    evil = "\x1b[2J\x1b]0;owned\x07\x9b31m\x00"
    feed(
        renderer,
        Event("output", "web", "web/provision:1", evil + "\n"),
        Event("progress", "web", "web/provision:1", evil),
        Event("failed", "web", "web/provision:1", evil, {"details": evil, "hint": evil, "log": evil}),
    )
    renderer.result(ok=False)
    told = out.getvalue() + capsys.readouterr().err
    assert "\x1b" not in told
    assert "\x9b" not in told
    assert "\x00" not in told


def test_a_reader_that_went_away_stops_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    renderer = Plain(Broken(BrokenPipeError(32, "Broken pipe")), Style())
    feed(renderer, *story())
    renderer.result(ok=True)
    assert capsys.readouterr().err == ""


def test_output_lost_to_a_full_disk_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    renderer = Plain(Broken(OSError(28, "No space left on device")), Style())
    feed(renderer, *story())
    renderer.result(ok=True)
    assert "No space left on device" in capsys.readouterr().err


def test_lines_of_many_threads_stay_whole() -> None:
    out = io.StringIO()
    renderer = Plain(out, Style())

    def work(machine: str) -> None:
        for number in range(200):
            renderer.emit(Event("output", machine, f"{machine}/provision:1", f"{machine}-{number}"))
            renderer.emit(Event("output", machine, f"{machine}/provision:1", "-end\n"))

    threads = [threading.Thread(target=work, args=(f"m{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = out.getvalue().splitlines()
    assert len(lines) == 1600
    for line in lines:
        machine, _, text = line.partition("| ")
        assert text.startswith(f"{machine}-")
        assert text.endswith("-end")


def test_signs_fit_an_encoding_that_has_no_others() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="iso-8859-1")
    assert Style.of(stream, color=False).ok == "+"


def test_output_that_the_details_have_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    with Plain(io.StringIO(), Style()) as renderer:
        output = Event("output", "web", "web/image", "Step 1\nnosuch: not found\n")
        details = {"details": "Step 1\nnosuch: not found\nit returned 127", "hint": "mend it"}
        feed(renderer, output, Event("failed", "web", "web/image", "cannot build", details))
        renderer.result(ok=False)
    told = capsys.readouterr().err
    assert told.count("nosuch: not found") == 1
    assert "it returned 127" in told and "of output" not in told
