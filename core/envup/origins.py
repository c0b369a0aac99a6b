"""Snapshots that new machines begin with: of another machine of the same environment, on the same provider.

Such a machine has all that the other had in its files then. The steps that had run there count as done here as far as
they are declared alike, variables and user of the machine included; from the first that is not they run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from envup import spec as specs
from envup import staleness
from envup.changes import Start, of_pin, once
from envup.errors import RefusedError, UsageError
from envup.model import Environment, MachineSpec
from envup.plan import Plan
from envup.planner import Knowledge, Wish
from envup.provider import Provider, Snapshots
from envup.state.identity import Identity
from envup.state.records import State
from envup.value import replace

if TYPE_CHECKING:
    from envup.project import Project


class Origin:
    """One snapshot: `MACHINE/SNAPSHOT`."""

    def __init__(self, name: str, environment: Environment, identity: Identity) -> None:
        self.name, self._environment, self._identity = name, environment, identity

    def start(self, spec: MachineSpec, state: State) -> Start:
        """What a machine begins with that begins with it."""
        machine, _slash, snapshot = self.name.partition("/")
        records, salt = state.steps_of_snapshot(self._identity.id, machine, snapshot), self._identity.salt
        noted = state.spec_of_snapshot(self._identity.id, machine, snapshot)
        if _runs_with(noted) != _runs_with(specs.summary(spec, salt)):
            return Start(origin=self.name)
        stale = staleness.of_steps(records, self._environment, spec.name, salt)
        done = 0
        for step, record in zip(once(spec.steps), records, strict=False):
            if record.position != done or done in stale or specs.definition(step, salt) != record.definition:
                break
            done += 1
        return Start(records=records[:done], origin=self.name)


def _runs_with(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The variables and the user that steps run with."""
    return {key: value for key, value in summary.items() if key == "user" or key.startswith("environment.")}


def begin(wish: Wish, known: Knowledge, environment: Environment, project: Project) -> Knowledge:
    """The same, in which the machines that are named begin with the snapshot that is wished for. Errors: `UsageError`,
    `RefusedError`."""
    if not wish.machines:
        raise UsageError("--from: no machine is named", hint="`env up --from SNAPSHOT MACHINE` makes MACHINE")
    name = _find(wish.begin, known, project.provider)
    _require(wish, name, known, environment)
    origin, state, other = Origin(name, environment, project.identity), project.state, known.start

    def start(spec: MachineSpec) -> Start:
        if spec.name in wish.machines:
            return origin.start(spec, state)
        return other(spec) if wish.provision else Start()

    return replace(known, start=start)


def _find(text: str, known: Knowledge, providers: Callable[[str], Provider]) -> str:
    """`MACHINE/SNAPSHOT` for what a user wrote, who may leave out the machine where only one has such a snapshot.
    Errors: `UsageError`."""
    wanted, slash, name = text.rpartition("/")
    having = []
    for machine, seen in known.observed.machines.items():
        provider = providers(seen.provider)
        if wanted in ("", machine) and isinstance(provider, Snapshots) and seen.instance.state != "broken":
            having += [machine for kept in provider.snapshots(seen.instance) if kept.name == name]
    if len(having) == 1:
        return f"{having[0]}/{name}"
    if having:
        named = " or ".join(f"--from {machine}/{name}" for machine in having)
        raise UsageError(f"several machines have a snapshot '{name}'", hint=f"name one: {named}")
    whose = f"machine '{wanted}' has" if slash else "there is"
    raise UsageError(f"{whose} no snapshot '{name}'", hint="`env snapshot list` tells them")


def _require(wish: Wish, origin: str, known: Knowledge, environment: Environment) -> None:
    """Errors: `UsageError`, `RefusedError` where one of the machines cannot begin with the snapshot `origin`."""
    machine = origin.partition("/")[0]
    source = known.observed.machines[machine]
    for name in wish.machines:
        spec = environment.machine(name)
        if name in known.observed.machines and not _is_half_made(name, known):
            hint = f"`env snapshot restore` goes back to one of its own; `env destroy {name}` lets it begin anew"
            raise UsageError(f"machine '{name}' is there already: only a new one begins with a snapshot", hint=hint)
        if spec is None:
            continue
        if spec.provider != source.provider:
            brief = f"machine '{name}' is of provider {spec.provider}, and the snapshot of provider {source.provider}"
            raise RefusedError(brief, hint=f"declare `provider: {source.provider}` for it")
        if specs.summary(spec, known.salt)["image"] != _image_of(machine, known, environment):
            brief = f"machine '{name}' is declared with another image than that of the snapshot of machine '{machine}'"
            raise RefusedError(brief, hint="declare the same `image` for both")
        if cause := of_pin(spec, source):
            brief = f"machine '{name}' cannot begin with a snapshot of machine '{machine}': {cause}"
            raise RefusedError(brief, hint=f"`env up {machine}` makes '{machine}' anew, without its snapshots")


def _is_half_made(machine: str, known: Knowledge) -> bool:
    """Whether what there is of a machine is removed before it is made."""
    unfinished = (machine, "create") in known.records.unfinished or (machine, "destroy") in known.records.unfinished
    return unfinished or known.observed.machines[machine].instance.state == "broken"


def require_kept(plan: Plan) -> None:
    """Errors: `RefusedError` where a machine of which others begin with a snapshot would be removed, and that with
    it."""
    sources = {action.origin.partition("/")[0] for action in plan.actions if action.origin}
    for action in plan.actions:
        if action.verb == "destroy" and action.machine in sources:
            raise RefusedError(
                f"machine '{action.machine}', with a snapshot of which others begin, would be removed: {action.cause}",
                hint="bring the new machines up alone first",
            )


def _image_of(machine: str, known: Knowledge, environment: Environment) -> object:
    """What the machine of a snapshot was declared with, None where nobody knows any more."""
    if (record := known.records.machines.get(machine)) is not None:
        return record.spec.get("image")
    spec = environment.machine(machine)
    return None if spec is None else specs.summary(spec, known.salt)["image"]
