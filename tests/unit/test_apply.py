"""Running a plan: order, failure, journal, interrupt."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from envup.apply import Report, _Bell, apply
from envup.errors import EnvupError
from envup.events import Event
from envup.plan import Action, Plan, in_order
from envup.state.records import State


def action(name: str, *after: str) -> Action:
    machine, _, verb = name.partition("/")
    return Action(name, machine, verb, "chroot", "asked", after=after)


def plan(*actions: Action) -> Plan:
    return Plan("shop", "abc", in_order(actions))


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state.db")


def test_an_action_runs_behind_what_it_waits_for(state: State) -> None:
    ran: list[str] = []
    chain = plan(action("a/start", "a/create"), action("a/create"))
    report = apply(chain, lambda one: ran.append(one.id), state, lambda _event: None)
    assert ran == ["a/create", "a/start"]
    assert report == Report()


def test_independent_actions_run_at_the_same_time(state: State) -> None:
    both = threading.Barrier(2, timeout=20)
    report = apply(plan(action("a/start"), action("b/start")), lambda _one: [both.wait()][0] and None, state, print)
    assert report.ok


def test_a_failure_skips_what_waits_for_it_and_nothing_else(state: State) -> None:
    events: list[Event] = []
    ran: list[str] = []

    def perform(one: Action) -> None:
        if one.id == "a/create":
            raise EnvupError("no space", hint="free some")
        ran.append(one.id)

    graph = plan(action("a/create"), action("a/start", "a/create"), action("b/start", "a/start"), action("c/start"))
    report = apply(graph, perform, state, events.append)
    assert ran == ["c/start"]
    assert list(report.failed) == ["a/create"]
    assert report.skipped == ["a/start", "b/start"]
    (failure,) = [event for event in events if event.kind == "failed"]
    assert (failure.text, failure.data["hint"]) == ("no space", "free some")


def test_every_action_is_journalled_before_and_after(state: State) -> None:
    seen: list[object] = []
    apply(
        plan(action("a/start")), lambda _one: seen.append(state.records("abc").unfinished), state, lambda _event: None
    )
    assert seen == [{("a", "start"): "chroot"}]
    assert not state.records("abc").unfinished


def test_an_error_that_is_no_envup_error_is_raised_after_the_others_ended(state: State) -> None:
    def perform(one: Action) -> None:
        if one.id == "a/start":
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        apply(plan(action("a/start"), action("b/start")), perform, state, lambda _event: None)
    assert not state.records("abc").unfinished


def test_no_action_works_on_when_all_is_told_to_be_done(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    ring, ended = _Bell.ring, []

    def late(bell: _Bell) -> None:
        ring(bell)
        time.sleep(0.2)
        ended.append(bell)

    monkeypatch.setattr(_Bell, "ring", late)
    assert apply(plan(action("a/start")), lambda _action: None, state, lambda _event: None).ok
    assert len(ended) == 1


INTERRUPTED = """
import sys
import time
from pathlib import Path
from envup import children
from envup.apply import _Bell, apply
from envup.plan import Action, Plan
from envup.state.records import State

def perform(action):
    with children.child(["sh", "-c", "echo $$; exec sleep 600"]) as process:
        pass

actions = (Action("a/start", "a", "start", "x", "y"), Action("a/ready", "a", "ready", "x", "y", after=("a/start",)))
report = apply(Plan("p", "e", actions), perform, State(Path(sys.argv[1])), lambda event: None)
print(report.interrupted, report.skipped, flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_programs_that_run_and_starts_nothing_more(tmp_path: Path, number: int) -> None:
    argv = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "state.db")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            child = int(process.stdout.readline())
            process.send_signal(number)
            assert process.communicate(timeout=30)[0] == "True ['a/ready']\n"
        finally:
            process.kill()
    assert not Path(f"/proc/{child}").exists()
