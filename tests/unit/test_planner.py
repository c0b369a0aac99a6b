"""What `up`, `provision`, `stop` and `destroy` decide to do."""

from __future__ import annotations

import pytest
from factory import environment, knowledge, machine, record, seen, step

from envup.model import ImageReference, Probe, Resources, Step
from envup.observe import Observed
from envup.plan import Plan
from envup.planner import Wish, plan_down, plan_provision, plan_resume, plan_up
from envup.value import replace


def ids(plan: Plan) -> list[str]:
    return [action.id for action in plan.actions]


def after(plan: Plan, name: str) -> tuple[str, ...]:
    return next(action.after for action in plan.actions if action.id == name)


def test_a_machine_that_does_not_exist_is_made_started_and_provisioned_in_order() -> None:
    web = machine(bodies=("a", "b"))
    plan = plan_up(environment(web), knowledge(), Wish())
    assert ids(plan) == ["web/image", "web/create", "web/start", "web/provision:1", "web/provision:2"]
    assert after(plan, "web/provision:2") == ("web/provision:1",)
    assert not plan.asks


def test_nothing_is_planned_for_a_machine_that_is_as_declared() -> None:
    web = machine(bodies=("a",), ready=Probe("tcp", 80))
    plan = plan_up(environment(web), knowledge(web), Wish())
    assert not plan.changes


def test_steps_resume_behind_the_last_that_succeeded() -> None:
    web = machine(bodies=("a", "b", "c"))
    plan = plan_up(environment(web), knowledge(web, done={"web": 1}), Wish())
    assert ids(plan) == ["web/provision:2", "web/provision:3"]
    assert plan.actions[0].cause == "has not run yet"


def test_a_step_added_at_the_end_runs_alone() -> None:
    before, now = machine(bodies=("a",)), machine(bodies=("a", "b"))
    assert ids(plan_up(environment(now), knowledge(before), Wish())) == ["web/provision:2"]


def test_a_changed_file_runs_its_step_and_those_behind_it_and_forgets_their_records() -> None:
    web = machine(bodies=("a", "b", "c"))
    plan = plan_up(environment(web), knowledge(web, stale={"web": {1: "the file of step-1"}}), Wish())
    assert ids(plan) == ["web/provision:2", "web/provision:3"]
    assert [action.reset for action in plan.actions] == [True, False]
    assert plan.actions[0].cause == "the file of step-1 changed"


@pytest.mark.parametrize(
    ("bodies", "cause"),
    [
        (("a", "X", "c"), "step 'X' changed after it ran"),
        (("a", "c"), "step 'b' was removed"),
        (("a", "new", "b", "c"), "step 'new' is new before steps that have run"),
        (("a", "c", "b"), "step 'c' has moved before steps that have run"),
        (("a", "b"), "step 'c' was removed"),
    ],
)
def test_a_step_changed_removed_or_put_in_between_needs_a_new_machine_and_asks(
    bodies: tuple[str, ...], cause: str
) -> None:
    before, now = (
        machine(steps=tuple(step(place, body, name=body) for place, body in enumerate(some)))
        for some in (("a", "b", "c"), bodies)
    )
    plan = plan_up(environment(now), knowledge(before), Wish())
    assert ids(plan)[:4] == ["web/image", "web/destroy", "web/create", "web/start"]
    assert plan.asks == (f"machine 'web' would be made anew, losing what is in it: {cause}",)


def test_who_is_asked_is_told_of_snapshots_that_would_go() -> None:
    before, now = machine(bodies=("a",)), machine(bodies=("b",))
    known = knowledge(before)
    known = replace(known, records=replace(known.records, snapshots={"web": ("clean", "tried")}))
    (made_anew,) = plan_up(environment(now), known, Wish()).asks
    assert "losing what is in it and its snapshots clean, tried:" in made_anew
    (destroyed,) = plan_down(environment(now), "name", known, (), "destroy").asks
    assert destroyed == "machine 'web' will be destroyed, with all that is in it and its snapshots clean, tried"
    assert plan_down(environment(now), "name", known, (), "stop").asks == ()


def test_a_renamed_step_is_the_same_step() -> None:
    before = machine(bodies=("a",))
    now = replace(before, steps=(step(0, "a", name="other"),))
    assert not plan_up(environment(now), knowledge(before), Wish()).changes


def test_steps_that_run_always_run_and_those_that_run_never_do_not() -> None:
    web = machine(steps=(step(0, "a"), step(1, "b", run="always"), step(2, "c", run="never")))
    assert ids(plan_up(environment(web), knowledge(web), Wish())) == ["web/provision:2"]


def test_a_step_that_runs_always_may_be_put_anywhere_without_a_rebuild() -> None:
    before = machine(bodies=("a", "b"))
    now = replace(before, steps=(step(0, "a"), step(1, "x", run="always"), step(2, "b")))
    assert ids(plan_up(environment(now), knowledge(before), Wish())) == ["web/provision:2"]


def test_no_provision_leaves_the_steps_alone() -> None:
    web = machine(bodies=("a",))
    assert ids(plan_up(environment(web), knowledge(), Wish(provision=False))) == [
        "web/image",
        "web/create",
        "web/start",
    ]


def test_a_stopped_machine_is_started_without_its_steps() -> None:
    web = machine(bodies=("a",), ready=Probe("tcp", 80))
    assert ids(plan_up(environment(web), knowledge(web, states={"web": "stopped"}), Wish())) == [
        "web/start",
        "web/ready",
    ]


def test_a_volatile_machine_that_stopped_is_provisioned_again() -> None:
    web = machine(bodies=("a",))
    plan = plan_up(environment(web), knowledge(web, states={"web": "stopped"}, volatile=True), Wish())
    assert ids(plan) == ["web/start", "web/provision:1"]


def test_a_suspended_machine_is_resumed() -> None:
    web = machine()
    assert ids(plan_up(environment(web), knowledge(web, states={"web": "suspended"}), Wish())) == ["web/resume"]


def test_a_broken_machine_is_made_again_once_the_user_agrees() -> None:
    web = machine()
    plan = plan_up(environment(web), knowledge(web, states={"web": "broken"}), Wish())
    assert ids(plan) == ["web/image", "web/destroy", "web/create", "web/start"]
    assert plan.asks


@pytest.mark.parametrize("action", ["create", "destroy"])
def test_what_an_interrupted_command_left_broken_is_made_again_without_asking(action: str) -> None:
    web = machine()
    known = knowledge(web, states={"web": "broken"}, unfinished=frozenset({("web", action)}))
    plan = plan_up(environment(web), known, Wish())
    assert ids(plan) == ["web/image", "web/destroy", "web/create", "web/start"]
    assert not plan.asks


@pytest.mark.parametrize("state", ["running", "suspended"])
def test_a_stop_that_was_cut_short_is_finished_first(state: str) -> None:
    web = machine()
    known = knowledge(web, states={"web": state}, unfinished=frozenset({("web", "stop")}))
    plan = plan_up(environment(web), known, Wish())
    assert ids(plan) == ["web/stop", "web/start"]
    assert plan.actions[0].cause == "its stop was cut short"
    assert not plan.asks


def test_a_probe_that_failed_is_asked_again() -> None:
    web = machine(ready=Probe("tcp", 80))
    plan = plan_up(environment(web), knowledge(web, unready=frozenset({"web"})), Wish())
    assert ids(plan) == ["web/ready"]


def test_a_change_that_is_taken_back_is_a_change() -> None:
    first, second = machine(environment={"X": "1"}), machine(environment={"X": "2"})
    known = knowledge(second)
    label = knowledge(first).observed
    plan = plan_up(environment(first), replace(known, observed=label), Wish())
    assert ids(plan) == ["web/stop", "web/start"]


def test_a_changed_file_does_not_hide_that_a_later_step_was_removed() -> None:
    before, now = machine(bodies=("a", "b", "c")), machine(bodies=("a", "c"))
    assert plan_up(environment(now), knowledge(before, stale={"web": {0: "a file"}}), Wish()).asks


def test_provision_does_not_touch_the_machines_that_it_was_not_asked_for() -> None:
    database, web = machine("db", ready=Probe("tcp", 1)), machine("web", bodies=("a",), depends_on={"db": "ready"})
    plan = plan_provision(environment(database, web), knowledge(web), ("web",), None)
    assert ids(plan) == ["web/provision:1"]


def test_a_new_machine_starts_when_the_orphans_are_gone() -> None:
    web, old = machine("web"), machine("old")
    plan = plan_up(environment(web), knowledge(old), Wish(remove_orphans=True))
    assert "old/destroy" in after(plan, "web/start")


def test_a_creation_that_was_cut_short_is_done_again() -> None:
    web = machine()
    known = knowledge(web, states={"web": "created"}, unfinished=frozenset({("web", "create")}))
    assert "web/destroy" in ids(plan_up(environment(web), known, Wish()))


def test_a_live_change_needs_no_restart_where_the_provider_can_resize() -> None:
    web = machine(resources=Resources(memory=1 << 30))
    now = replace(web, resources=Resources(memory=2 << 30))
    plan = plan_up(environment(now), knowledge(web, touches="live"), Wish())
    assert ids(plan) == ["web/update"]
    assert plan.actions[0].cause == "resources.memory changed from 1GiB to 2GiB"


def test_a_live_change_restarts_where_the_provider_cannot_resize() -> None:
    web = machine(resources=Resources(memory=1 << 30))
    now = replace(web, resources=Resources(memory=2 << 30))
    assert ids(plan_up(environment(now), knowledge(web, touches="live", resize=False), Wish())) == [
        "web/stop",
        "web/start",
    ]


@pytest.mark.parametrize(("old", "new"), [(8 << 30, 4 << 30), (None, 4 << 30), (4 << 30, None)])
def test_a_smaller_disk_or_another_kind_of_disk_needs_a_new_machine(old: int | None, new: int | None) -> None:
    web = machine(resources=Resources(disk=old))
    now = replace(web, resources=Resources(disk=new))
    assert plan_up(environment(now), knowledge(web), Wish()).asks


def test_a_changed_image_asks_and_names_both() -> None:
    web = machine()
    now = replace(web, image=replace(web.image, options={"suite": "trixie"}))
    (ask,) = plan_up(environment(now), knowledge(web), Wish()).asks
    assert "bookworm" in ask
    assert "trixie" in ask


def test_a_move_to_another_provider_destroys_on_the_old_and_creates_on_the_new() -> None:
    web = machine()
    plan = plan_up(environment(replace(web, provider="docker")), knowledge(web), Wish())
    providers = {action.verb: action.provider for action in plan.actions}
    assert providers["destroy"] == "chroot"
    assert providers["create"] == providers["image"] == "docker"


def test_a_secret_that_changed_is_seen_and_not_told() -> None:
    web = machine(environment={"TOKEN": "old-value"}, secrets=frozenset({"TOKEN"}))
    now = replace(web, environment={"TOKEN": "new-value"})
    plan = plan_up(environment(now), knowledge(web), Wish())
    assert ids(plan) == ["web/stop", "web/start"]
    assert "value" not in str(plan)


def test_a_secret_in_the_options_of_image_provider_or_step_is_seen_and_in_no_record() -> None:
    secret = frozenset({("args", "T")})
    old = machine(
        image=ImageReference("dockerfile", {"dockerfile": "/d", "args": {"T": "old-value"}}, secret),
        options={"chroot": {"words": ["a", "old-value"]}},
        secret_options=frozenset({("chroot", "words", 1)}),
        steps=(step(0, {"args": {"T": "old-value"}}, secret_options=secret),),
    )
    assert "value" not in str(record(old))
    for changed in (
        replace(old, image=replace(old.image, options={"dockerfile": "/d", "args": {"T": "new-value"}})),
        replace(old, options={"chroot": {"words": ["a", "new-value"]}}),
        replace(old, steps=(replace(old.steps[0], options={"args": {"T": "new-value"}}),)),
    ):
        plan = plan_up(environment(changed), knowledge(old), Wish())
        assert plan.changes and "value" not in str(plan)
        assert not plan_up(environment(changed), knowledge(changed), Wish()).changes


def test_a_machine_waits_for_the_condition_that_it_depends_on() -> None:
    database = machine("db", bodies=("a",), ready=Probe("tcp", 5432))
    for condition, milestone in (("started", "db/start"), ("provisioned", "db/provision:1"), ("ready", "db/ready")):
        web = machine("web", depends_on={"db": condition})
        plan = plan_up(environment(web, database), knowledge(), Wish())
        assert milestone in after(plan, "web/start")
        assert ids(plan).index(milestone) < ids(plan).index("web/start")


def test_a_machine_that_already_runs_is_probed_before_one_that_waits_for_it_starts() -> None:
    database, web = machine("db", ready=Probe("tcp", 5432)), machine("web", depends_on={"db": "ready"})
    plan = plan_up(environment(database, web), knowledge(database), Wish())
    assert "db/ready" in after(plan, "web/start")


def test_naming_a_machine_takes_its_dependencies_along_and_nothing_else() -> None:
    machines = machine("db"), machine("web", depends_on={"db": "started"}), machine("mail")
    plan = plan_up(environment(*machines), knowledge(), Wish(machines=("web",)))
    assert {action.machine for action in plan.actions} == {"db", "web"}


def test_an_orphan_is_told_and_removed_only_when_asked() -> None:
    web, old = machine("web"), machine("old")
    plan = plan_up(environment(web), knowledge(web, old), Wish())
    assert not plan.changes
    assert "old" in plan.notes[0]
    assert ids(plan_up(environment(web), knowledge(web, old), Wish(remove_orphans=True))) == ["old/destroy"]


def test_a_remainder_on_another_provider_is_removed() -> None:
    web = machine()
    known = knowledge(web, strays=(seen(web, provider="docker"),))
    assert ids(plan_up(environment(web), known, Wish())) == ["web/destroy@docker"]


def test_destroy_takes_dependents_first_and_needs_no_envfile() -> None:
    database, web = machine("db"), machine("web", depends_on={"db": "started"})
    known = knowledge(database, web)
    assert ids(plan_down(environment(database, web), "shop", known, (), "destroy")) == ["web/destroy", "db/destroy"]
    assert set(ids(plan_down(None, "shop", known, (), "destroy"))) == {"web/destroy", "db/destroy"}


def test_destroy_forgets_a_machine_that_was_removed_behind_our_back() -> None:
    known = knowledge(machine())
    known = replace(known, observed=Observed({}))
    assert ids(plan_down(None, "shop", known, (), "destroy")) == ["web/forget"]


def test_stop_leaves_machines_that_do_not_run_alone() -> None:
    web = machine()
    assert not plan_down(environment(web), "shop", knowledge(web, states={"web": "stopped"}), (), "stop").changes


def test_provision_runs_all_steps_but_never_or_only_the_named_one() -> None:
    steps: tuple[Step, ...] = (step(0, "a"), step(1, "b", run="never", name="reset"))
    web = machine(steps=steps)
    assert ids(plan_provision(environment(web), knowledge(web), (), None)) == ["web/provision:1"]
    assert ids(plan_provision(environment(web), knowledge(web), (), "reset")) == ["web/provision:2"]


def test_restart_stops_and_starts_what_runs() -> None:
    web = machine()
    assert ids(plan_up(environment(web), knowledge(web), Wish(restart=True))) == ["web/stop", "web/start"]


def test_suspend_takes_what_runs_dependents_first_and_resume_goes_the_other_way() -> None:
    database = machine("db")
    web = machine("web", depends_on={"db": "started"})
    running = knowledge(database, web, states={"web": "running", "db": "running"})
    frozen = knowledge(database, web, states={"web": "suspended", "db": "suspended"})
    assert ids(plan_down(environment(database, web), "shop", running, (), "suspend")) == ["web/suspend", "db/suspend"]
    assert ids(plan_resume(environment(database, web), "shop", frozen, ())) == ["db/resume", "web/resume"]
    assert ids(plan_resume(None, "shop", frozen, ("db",))) == ["db/resume"]


@pytest.mark.parametrize("state", ["stopped", "suspended", "created"])
def test_only_what_runs_is_suspended(state: str) -> None:
    web = machine()
    assert not plan_down(environment(web), "shop", knowledge(web, states={"web": state}), (), "suspend").changes


@pytest.mark.parametrize("state", ["stopped", "running", "created"])
def test_only_what_is_suspended_is_resumed(state: str) -> None:
    web = machine()
    assert not plan_resume(environment(web), "shop", knowledge(web, states={"web": state}), ()).changes


@pytest.mark.parametrize("wish", [Wish(refresh=frozenset({"step-1"})), Wish(cache=False)])
def test_that_layers_are_passed_over_is_told_to_be_for_nothing_where_no_machine_is_made(wish: Wish) -> None:
    web = machine(bodies=("a",))
    (note,) = plan_up(environment(web), knowledge(web), wish).notes
    assert note.startswith("--refresh is" if wish.refresh else "--no-cache is")
    assert plan_up(environment(web), knowledge(), wish).notes == ()
    assert plan_up(environment(web), knowledge(web), Wish()).notes == ()
