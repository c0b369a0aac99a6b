"""Values for tests of planning: machines as declared, as observed and as recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from envup import spec as specs
from envup.model import Environment, ImageReference, MachineSpec, Step
from envup.observe import Observed, Seen
from envup.planner import Knowledge
from envup.provider import Instance
from envup.state.records import MachineRecord, Records, StepRecord

SALT = "salt"


def step(index: int, body: Any = "true", **changes: Any) -> Step:
    return Step(index=index, name=changes.pop("name", f"step-{index}"), kind="shell", options=body, **changes)


def machine(name: str = "web", **changes: Any) -> MachineSpec:
    steps = tuple(step(index, body) for index, body in enumerate(changes.pop("bodies", ())))
    values: dict[str, Any] = {
        "provider": "chroot",
        "image": ImageReference("debootstrap", {"suite": "bookworm"}),
        "hostname": name,
        "steps": steps,
    }
    return MachineSpec(name=name, **values | changes)


def environment(*machines: MachineSpec) -> Environment:
    return Environment("shop", Path("/shop"), Path("/shop/Envfile"), machines or (machine(),))


def seen(spec: MachineSpec, state: str = "running", **changes: Any) -> Seen:
    labels = {"envup.machine": spec.name, "envup.spec": specs.digest(specs.summary(spec, SALT))}
    return Seen(changes.pop("provider", spec.provider), Instance(f"i-{spec.name}", state, labels, **changes))


def record(spec: MachineSpec) -> MachineRecord:
    return MachineRecord(spec.provider, f"i-{spec.name}", specs.summary(spec, SALT))


def step_records(spec: MachineSpec, count: int | None = None) -> tuple[StepRecord, ...]:
    once = [step for step in spec.steps if step.run == "once"][:count]
    return tuple(StepRecord(place, one.name, specs.definition(one, SALT), "c", {}) for place, one in enumerate(once))


def knowledge(
    *made: MachineSpec,
    states: dict[str, str] | None = None,
    done: dict[str, int] | None = None,
    stale: dict[str, dict[int, str]] | None = None,
    unfinished: frozenset[tuple[str, str]] = frozenset(),
    unready: frozenset[str] = frozenset(),
    volatile: bool = False,
    resize: bool = True,
    touches: str = "restart",
    strays: tuple[Seen, ...] = (),
) -> Knowledge:
    """What is known when the machines `made` exist, each fully provisioned unless `done` says how many steps ran."""
    states, done = states or {}, done or {}
    observed = {spec.name: seen(spec, states.get(spec.name, "running"), volatile=volatile) for spec in made}
    records = Records(
        {spec.name: record(spec) for spec in made},
        {spec.name: step_records(spec, done.get(spec.name)) for spec in made},
        dict.fromkeys(unfinished, "chroot"),
        unready,
    )
    return Knowledge(
        "abc",
        Observed(observed, strays),
        records,
        stale or {},
        lambda _provider, _key: touches,
        lambda _provider, _ability: True,
        lambda _seen, _spec: resize,
        SALT,
    )
