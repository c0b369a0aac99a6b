"""Plans of snapshots, what is recorded with them, and what of a plan is done whatever becomes of the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from factory import environment, knowledge, machine, step

from envup import snapshots
from envup.apply import apply
from envup.errors import EnvupError, RefusedError, UsageError
from envup.events import silent
from envup.model import Probe
from envup.plan import Action, Plan
from envup.planner import Knowledge
from envup.provider import Snapshot
from envup.state.records import MachineRecord, State, StepRecord
from envup.value import replace

WITH, WITHOUT = Snapshot("clean", 1.0, memory=True), Snapshot("clean", 1.0)


def plan(known: Knowledge, verb: str, kept: snapshots.Kept) -> list[tuple[str, tuple[str, ...]]]:
    """(id, what it waits for) of each action."""
    machines = known.observed.machines
    declared = environment(*(machine(name) for name in machines))
    made = snapshots.plan(declared, "shop", known, machines, kept, verb, "clean")
    return [(action.id, action.after) for action in made.actions]


def test_one_machine_is_not_paused_by_the_plan() -> None:
    assert plan(knowledge(machine()), "snapshot", {"web": ()}) == [("web/snapshot", ())]


def test_several_that_run_stand_still_until_all_are_taken() -> None:
    known = knowledge(machine(), machine("db"), machine("off"), states={"off": "stopped"})
    pauses = ("web/pause", "db/pause")
    assert plan(known, "snapshot", {"web": (), "db": (), "off": ()}) == [
        ("web/pause", ()),
        ("db/pause", ()),
        ("web/snapshot", pauses),
        ("db/snapshot", pauses),
        ("off/snapshot", pauses),
        ("web/resume", ()),
        ("db/resume", ()),
    ]


def test_what_cannot_be_paused_is_suspended_meanwhile() -> None:
    known = replace(knowledge(machine(), machine("db")), can=lambda _provider, ability: ability == "suspend")
    made = [action for action, _after in plan(known, "snapshot", {"web": (), "db": ()})]
    assert made == [f"{name}/{verb}" for verb in ("suspend", "snapshot", "resume") for name in ("web", "db")]


def test_a_restored_machine_is_started_where_it_ran_and_its_memory_was_not_kept() -> None:
    assert plan(knowledge(machine()), "restore", {"web": (WITH,)}) == [("web/restore", ())]
    started = [("web/restore", ()), ("web/start", ("web/restore",))]
    assert plan(knowledge(machine()), "restore", {"web": (WITHOUT,)}) == started
    stopped = knowledge(machine(), states={"web": "stopped"})
    assert plan(stopped, "restore", {"web": (WITHOUT,)}) == [("web/restore", ())]


def test_steps_that_run_always_are_for_a_machine_that_does_not_go_on_from_memory() -> None:
    steps = (step(0, "a"), step(1, "b", run="always"), step(2, "c", run="never"))
    web = machine(steps=steps, ready=Probe("tcp", 80))
    known = knowledge(web)

    def after(snapshot: Snapshot) -> list[str]:
        made = snapshots.plan(
            environment(web), "shop", known, known.observed.machines, {"web": (snapshot,)}, "restore", "clean"
        )
        return [action.id for action in made.actions]

    assert after(WITH) == ["web/restore", "web/ready"]
    assert after(WITHOUT) == ["web/restore", "web/start", "web/provision:2", "web/ready"]


def test_what_only_some_machines_have_is_deleted_there() -> None:
    known = knowledge(machine(), machine("db"))
    assert plan(known, "delete", {"web": (WITH,), "db": ()}) == [("web/delete", ())]


@pytest.mark.parametrize(
    ("verb", "name", "kind", "text"),
    [
        ("snapshot", "clean", UsageError, "'web' has a snapshot 'clean' already"),
        ("snapshot", "web", UsageError, "'web' is a machine"),
        ("snapshot", "../x", UsageError, "cannot be the name"),
        ("restore", "clean", RefusedError, "'db' has no snapshot 'clean'"),
        ("restore", "nope", UsageError, "there is no snapshot 'nope'"),
        ("delete", "nope", UsageError, "there is no snapshot 'nope'"),
    ],
)
def test_names_that_are_taken_or_unknown_are_refused(verb: str, name: str, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        snapshots.require({"web": (WITH,), "db": ()}, verb, name, {"web", "db"})


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state.db")


def ran(state: State) -> tuple[list[str], object]:
    """Names of the steps that are recorded, and the machine's variable."""
    records = state.records("abc")
    return [step.name for step in records.steps.get("web", ())], records.machines["web"].spec["hostname"]


def test_steps_that_ran_after_a_snapshot_have_not_run_when_it_is_restored(state: State) -> None:
    state.remember_machine("abc", "web", MachineRecord("kvm", "i1", {"hostname": "one"}))
    state.remember_step("abc", "web", "i1", StepRecord(0, "first", "d", "c", {}))
    state.keep_with_snapshot("abc", "web", "clean")
    state.remember_step("abc", "web", "i1", StepRecord(1, "second", "d", "c", {}))
    state.remember_machine("abc", "web", MachineRecord("kvm", "i1", {"hostname": "two"}))
    state.go_back_to_snapshot("abc", "web", "clean", spec=False)
    assert ran(state) == (["first"], "two")
    state.go_back_to_snapshot("abc", "web", "clean", spec=True)
    assert ran(state) == (["first"], "one")
    state.go_back_to_snapshot("abc", "web", "of which nothing is known", spec=True)
    assert ran(state) == ([], "one")


def test_of_a_snapshot_s_steps_those_may_be_recorded_alone_that_have_run_in_the_machine_too(state: State) -> None:
    state.remember_machine("abc", "web", MachineRecord("kvm", "i1", {"hostname": "one"}))
    for position, name in enumerate(("first", "second", "third")):
        state.remember_step("abc", "web", "i1", StepRecord(position, name, "d", "c", {}))
    state.keep_with_snapshot("abc", "web", "clean")
    state.remember_step("abc", "web", "i1", StepRecord(1, "second", "changed", "c", {}))
    assert state.steps_in_common("abc", "web", "clean") == 1
    assert state.steps_in_common("abc", "web", "of which nothing is known") == 0
    state.go_back_to_snapshot("abc", "web", "clean", spec=True, steps=1)
    assert ran(state) == (["first"], "one")
    state.go_back_to_snapshot("abc", "web", "clean", spec=True)
    assert ran(state) == (["first", "second", "third"], "one")


def test_what_is_noted_with_a_snapshot_goes_with_its_machine(state: State) -> None:
    state.remember_machine("abc", "web", MachineRecord("kvm", "i1", {"hostname": "one"}))
    state.remember_step("abc", "web", "i1", StepRecord(0, "first", "d", "c", {}))
    state.keep_with_snapshot("abc", "web", "clean")
    state.remember_machine("abc", "web", MachineRecord("kvm", "i2", {"hostname": "two"}))
    state.go_back_to_snapshot("abc", "web", "clean", spec=True)
    assert ran(state) == ([], "two")


def test_a_file_of_the_first_format_is_brought_up(tmp_path: Path) -> None:
    import sqlite3

    from envup.state import records

    database = sqlite3.connect(tmp_path / "state.db")
    database.executescript(records._TABLES + "INSERT INTO machine VALUES ('abc', 'web', 'kvm', 'i1', '{}');")
    database.execute("PRAGMA user_version = 1")
    database.close()
    state = State(tmp_path / "state.db")
    assert state.records("abc").machines["web"].instance == "i1"
    state.keep_with_snapshot("abc", "web", "clean")


def done_of(plan: Plan, state: State, perform: Callable[[Action], None]) -> tuple[list[str], list[str]]:
    """(actions that were begun, in order; those that failed)."""
    begun: list[str] = []

    def one(action: Action) -> None:
        begun.append(action.id)
        perform(action)

    return begun, sorted(apply(plan, one, state, silent).failed)


def test_what_is_last_is_done_whatever_becomes_of_the_others(state: State) -> None:
    def perform(action: Action) -> None:
        if action.verb == "snapshot":
            raise EnvupError("no space")

    actions = (
        Action("web/resume", "web", "resume", "kvm", "", last=True),
        Action("web/suspend", "web", "suspend", "kvm", ""),
        Action("web/snapshot", "web", "snapshot", "kvm", "", after=("web/suspend",)),
        Action("web/ready", "web", "ready", "kvm", "", after=("web/snapshot",)),
    )
    begun, failed = done_of(Plan("shop", "abc", actions), state, perform)
    assert (begun, failed) == (["web/suspend", "web/snapshot", "web/resume"], ["web/snapshot"])


def test_of_machines_that_go_back_together_the_one_that_does_not_is_resumed(state: State) -> None:
    def perform(action: Action) -> None:
        if action.id == "db/restore":
            raise EnvupError("no such memory")

    actions = [
        part
        for name in ("db", "web")
        for part in (
            Action(f"{name}/suspend", name, "suspend", "kvm", ""),
            Action(f"{name}/restore", name, "restore", "kvm", "", after=("db/suspend", "web/suspend")),
            Action(f"{name}/resume", name, "resume", "kvm", "", last=True, unless=f"{name}/restore"),
        )
    ]
    begun, failed = done_of(Plan("shop", "abc", tuple(actions)), state, perform)
    assert begun[4:] == ["db/resume"]
    assert failed == ["db/restore"]
