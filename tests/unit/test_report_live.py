"""The live view, drawn on an emulated terminal."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable

import pytest

from envup.events import Event
from envup.report.live import Live, Painter
from envup.report.style import Style
from envup.report.text import width
from envup.report.view import View
from envup.report.words import Names

MACHINES = ("db", "web")
PLAN = {
    "actions": [
        {"id": f"{machine}/{verb}", "machine": machine, "detail": "app" if verb.startswith("provision") else ""}
        for machine in MACHINES
        for verb in ("create", "start", "provision:1")
    ]
}


class Screen:
    """What is left on a terminal that understands the sequences in use; each row as long as it likes."""

    def __init__(self) -> None:
        self.rows = [""]
        self.row = 0
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        for part in re.findall(r"\x1b\[[0-9;]*[A-Za-z]|\n|\r|[^\x1b\n\r]+", text):
            self._apply(part)
        return len(text)

    def _apply(self, part: str) -> None:
        if part == "\n":
            self.row += 1
            self.rows += [""] * (self.row + 1 - len(self.rows))
        elif part == "\x1b[A":
            self.row -= 1
        elif part == "\x1b[2K":
            self.rows[self.row] = ""
        elif not part.startswith("\x1b") and part != "\r":
            self.rows[self.row] += part

    def flush(self) -> None:
        """Nothing is held back."""

    def fileno(self) -> int:
        raise OSError("no descriptor")

    def shown(self) -> list[str]:
        return [row for row in self.rows if row]


class Clock:
    """A stream of events with times of their own."""

    def __init__(self, view: View) -> None:
        self.view, self.now = view, 1000.0

    def tell(self, kind: str, machine: str, verb: str, text: str = "", output: str = "") -> str:
        self.now += 1
        return self.view.feed(Event(kind, machine, f"{machine}/{verb}", text, time=self.now), output)


@pytest.fixture
def view() -> View:
    names = Names()
    names.learn(PLAN)
    found = View(names, Style())
    found.plan(PLAN)
    return found


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        threading.Event().wait(0.01)
    return holds()


def test_a_row_tells_what_is_done_for_how_long_and_the_last_line(view: View) -> None:
    clock = Clock(view)
    clock.tell("started", "web", "provision:1")
    clock.tell("output", "web", "provision:1", output="Setting up nginx")
    assert view.frame(80, 24, clock.now + 11) == ["• web  provisioning app · 12 s · Setting up nginx"]


def test_until_there_is_output_a_row_tells_the_progress(view: View) -> None:
    clock = Clock(view)
    clock.tell("started", "web", "create")
    clock.tell("progress", "web", "create", "unpacking the image")
    assert view.frame(80, 24, clock.now) == ["• web  creating · 1.0 s · unpacking the image"]


def test_when_a_machine_is_done_one_line_remains(view: View) -> None:
    clock = Clock(view)
    remaining = []
    for verb in ("create", "start", "provision:1"):
        clock.tell("started", "web", verb)
        remaining.append(clock.tell("finished", "web", verb))
    assert remaining == ["", "", "✓ web  created, started, provisioned app · 5.0 s"]
    assert view.frame(80, 24, clock.now) == []


def test_a_failed_machine_leaves_its_reason(view: View) -> None:
    clock = Clock(view)
    clock.tell("started", "web", "create")
    clock.tell("failed", "web", "create", "no space")
    clock.tell("skipped", "web", "start")
    assert clock.tell("skipped", "web", "provision:1") == "✗ web  creating failed: no space · 3.0 s"


def test_a_machine_that_waited_in_vain_says_so(view: View) -> None:
    clock = Clock(view)
    lines = [clock.tell("skipped", "web", verb) for verb in ("create", "start", "provision:1")]
    assert lines[-1] == "- web  skipped: what it waits for failed"


@pytest.mark.parametrize("columns", [1, 2, 5, 10, 20, 40, 200])
def test_no_row_is_wider_than_the_terminal(view: View, columns: int) -> None:
    clock = Clock(view)
    for machine in MACHINES:
        clock.tell("started", machine, "provision:1")
        clock.tell("output", machine, "provision:1", output="数据库" * 40)
    assert all(width(row) <= columns for row in view.frame(columns, 24, clock.now))


def test_more_machines_than_rows_are_counted() -> None:
    view = View(Names(), Style())
    clock = Clock(view)
    for number in range(30):
        clock.tell("started", f"m{number}", "create")
    frame = view.frame(80, 10, clock.now)
    assert len(frame) == 10
    assert frame[-1] == "  … and 21 more"


def test_a_frame_replaces_the_one_before_it() -> None:
    screen, painter = Screen(), Painter()
    screen.write(painter.paint("note\n", ["a 1", "b 1"], [3, 3], 80))
    screen.write(painter.paint("", ["a 2", "b 2"], [3, 3], 80))
    screen.write(painter.paint("a done\n", ["b 3"], [3], 80))
    screen.write(painter.paint("b done\n", [], [], 80))
    assert screen.shown() == ["note", "a done", "b done"]


def test_a_terminal_that_became_narrower_has_wrapped_the_frame() -> None:
    painter = Painter()
    painter.paint("", ["x" * 79, "y" * 30], [79, 30], 80)
    assert painter.paint("", [], [], 30).count("\x1b[A") == 3


def test_after_a_stop_the_old_frame_is_left_alone() -> None:
    painter = Painter()
    painter.paint("", ["a", "b"], [1, 1], 80)
    painter.forget()
    assert painter.paint("", ["c"], [1], 80) == "c"


def test_the_live_renderer_shows_work_and_leaves_one_line_a_machine() -> None:
    screen = Screen()
    with Live(screen, Style()) as live:  # type: ignore[arg-type]
        live.emit(Event("plan", data=PLAN))
        for machine in MACHINES:
            live.emit(Event("started", machine, f"{machine}/create"))
        assert within(5, lambda: "creating" in "".join(screen.shown()))
        for machine in MACHINES:
            for verb in ("create", "start", "provision:1"):
                live.emit(Event("finished", machine, f"{machine}/{verb}"))
        live.say("shop: done")
    assert [row.split(" · ")[0] for row in screen.shown()] == [
        "✓ db  created, started, provisioned app",
        "✓ web  created, started, provisioned app",
        "shop: done",
    ]


def test_time_passes_on_the_screen_while_nothing_happens() -> None:
    screen = Screen()
    with Live(screen, Style()) as live:  # type: ignore[arg-type]
        live.emit(Event("started", "web", "web/create"))
        assert within(5, lambda: "creating · 0." in screen.text)
        assert within(5, lambda: "creating · 1." in screen.text)


def test_a_flood_of_output_is_drawn_at_most_some_twenty_times_a_second() -> None:
    screen = Screen()
    begun = time.monotonic()
    with Live(screen, Style()) as live:  # type: ignore[arg-type]
        live.emit(Event("started", "web", "web/provision:1"))
        for number in range(20000):
            live.emit(Event("output", "web", "web/provision:1", f"line {number}\n"))
    took = time.monotonic() - begun
    assert screen.text.count("provisioning") <= 25 * took + 5


def test_a_command_that_does_nothing_starts_no_thread() -> None:
    screen = Screen()
    before = threading.active_count()
    with Live(screen, Style()) as live:  # type: ignore[arg-type]
        live.say("nothing to do")
        assert threading.active_count() == before
    assert screen.shown() == ["nothing to do"]


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, ValueError])
def test_the_terminal_is_left_as_it_was_however_the_command_ends(error: type[BaseException] | None) -> None:
    screen, handler = Screen(), signal.getsignal(signal.SIGCONT)

    def command() -> None:
        with Live(screen, Style(color=True)) as live:  # type: ignore[arg-type]
            live.emit(Event("plan", data=PLAN))
            live.emit(Event("started", "web", "web/create"))
            if error is not None:
                raise error

    if error is None:
        command()
    else:
        with pytest.raises(error):
            command()
    assert set(re.findall(r"\x1b\[[0-9;?]*[A-Za-z]", screen.text)) <= {
        "\x1b[A", "\x1b[2K", "\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[36m",
    }  # fmt: skip
    assert signal.getsignal(signal.SIGCONT) == handler
    assert not [thread for thread in threading.enumerate() if thread.name == "envup-report"]


def test_output_of_programs_cannot_drive_the_live_view() -> None:
    screen = Screen()
    with Live(screen, Style()) as live:  # type: ignore[arg-type]
        live.emit(Event("started", "web", "web/provision:1"))
        live.emit(Event("output", "web", "web/provision:1", "\x1b[10;10Hevil\x1b[?1049h\n"))
        assert within(5, lambda: "evil" in screen.text)
    assert "\x1b[10;10H" not in screen.text
    assert "\x1b[?" not in screen.text
