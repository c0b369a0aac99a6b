"""From what is declared, observed and recorded to a plan. Pure functions: no backend, no file, no clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from envup import changes
from envup.changes import Start, Touches
from envup.model import Environment, MachineSpec, Step
from envup.observe import Observed, Seen
from envup.plan import Action, Plan, action_id, in_order
from envup.state.records import Records, StepRecord
from envup.value import Value, replace


class Knowledge(Value):
    """What planning looks at beside the Envfile. `stale` says by machine and position of recorded steps what changed
    that they read or knew; `salt` keys the digests of secrets; `can` tells whether a provider has an ability
    (`suspend`), `resizes` whether an instance that is up can get the limits of a declaration without a restart,
    `start` what a new machine can begin with."""

    environment: str
    observed: Observed
    records: Records
    stale: Mapping[str, Mapping[int, str]]
    touches: Touches
    can: Callable[[str, str], bool]
    resizes: Callable[[Seen, MachineSpec], bool]
    salt: str
    start: Callable[[MachineSpec], Start] = lambda _spec: Start()


class Wish(Value):
    """What the user asked `up` for. `machines` empty means all; without `cache` no layer is used, and of the steps in
    `refresh` and those behind them none. `begin`: the snapshot, `MACHINE/SNAPSHOT` or its name alone, that those of
    `machines` begin with, which must not be there yet. `locked` refuses to differ from the lock file."""

    machines: tuple[str, ...] = ()
    provision: bool = True
    recreate: bool = False
    restart: bool = False
    remove_orphans: bool = False
    cache: bool = True
    refresh: frozenset[str] = frozenset()
    begin: str = ""
    locked: bool = False


def plan_up(environment: Environment, known: Knowledge, wish: Wish) -> Plan:
    """What brings the machines to what the Envfile says."""
    chosen = with_dependencies(environment, wish.machines)
    parts = [_Machine(spec, known, wish) for spec in environment.machines if spec.name in chosen]
    for part in parts:
        part.plan()
    actions = [action for part in parts for action in part.actions]
    actions += [_leftover(seen) for seen in known.observed.strays]
    orphans = _orphans(environment, known.observed)
    notes = [f"reaches outside the project: {path}" for path in environment.outside] if actions else []
    if (wish.refresh or not wish.cache) and not any(action.verb == "create" for action in actions):
        option = "--refresh" if wish.refresh else "--no-cache"
        notes.append(f"{option} is for machines that are made, and none is; `env provision` runs steps once more")
    if wish.remove_orphans:
        actions += [
            Action(action_id(name, "destroy"), name, "destroy", seen.provider, "is no longer in the Envfile")
            for name, seen in orphans.items()
        ]
    else:
        notes += [
            f"machine '{name}' is not in the Envfile: `env up --remove-orphans` or `env destroy {name}` removes it"
            for name in orphans
        ]
    removed = tuple(action.id for action in actions if action.verb == "destroy" and action.machine in orphans)
    actions = [replace(action, after=(*action.after, *removed)) if _brings_up(action) else action for action in actions]
    actions = ordered_by_dependencies(environment, actions)
    asks = tuple(ask for part in parts for ask in part.asks)
    return Plan(environment.name, known.environment, in_order(actions), tuple(notes), asks)


def plan_provision(
    environment: Environment, known: Knowledge, machines: Sequence[str], only: str | None, begin: str | None = None
) -> Plan:
    """Run steps again on running machines: all but `never`, from the one named `begin` on where that is given, or the
    one named `only`. Machines must run."""
    actions: list[Action] = []
    for spec in environment.machines:
        if machines and spec.name not in machines:
            continue
        seen = known.observed.machines[spec.name]
        steps = [step for step in _from(begin, spec.steps) if (step.name == only if only else step.run != "never")]
        first = next((step.index for step in steps if step.run == "once"), -1)
        previous: tuple[str, ...] = ()
        for step in steps:
            reset = not only and step.index == first
            action = step_action(spec, step, seen.provider, "was asked for", previous, reset=reset)
            actions.append(action)
            previous = (action.id,)
        if spec.ready and previous:
            cause = "was provisioned"
            actions.append(
                Action(action_id(spec.name, "ready"), spec.name, "ready", seen.provider, cause, "", previous)
            )
    ordered = ordered_by_dependencies(environment, actions, probe=False)
    return Plan(environment.name, known.environment, in_order(ordered))


def _from(name: str | None, steps: Sequence[Step]) -> Sequence[Step]:
    """The step of that name and those behind it, none where there is none; without a name all."""
    first = next((place for place, step in enumerate(steps) if name in (None, step.name)), len(steps))
    return steps[first:]


def plan_down(environment: Environment | None, name: str, known: Knowledge, machines: Sequence[str], verb: str) -> Plan:
    """Stop, suspend or destroy what is observed, dependents first. `environment` None: the Envfile is broken or
    gone."""
    verb_states = {"stop": ("running", "suspended"), "suspend": ("running",), "destroy": None}[verb]
    chosen = {
        machine: seen
        for machine, seen in known.observed.machines.items()
        if (not machines or machine in machines) and (verb_states is None or seen.instance.state in verb_states)
    }
    needs = {spec.name: spec.depends_on for spec in environment.machines} if environment else {}
    order = [spec.name for spec in environment.machines] if environment else sorted(chosen)
    actions = []
    for machine in reversed([*(name for name in chosen if name not in order), *order]):
        if machine in chosen:
            after = tuple(action_id(other, verb) for other, wants in needs.items() if machine in wants)
            actions.append(
                Action(action_id(machine, verb), machine, verb, chosen[machine].provider, "was asked for", "", after)
            )
    if verb == "destroy":
        actions += [
            Action(action_id(machine, "forget"), machine, "forget", record.provider, "is gone; its record is left")
            for machine, record in known.records.machines.items()
            if machine not in known.observed.machines and (not machines or machine in machines)
        ]
        actions += [
            _leftover(seen) for seen in known.observed.strays if not machines or seen.instance.machine in machines
        ]
    asks = [
        f"machine '{machine}' will be destroyed, with all that is in it{_snapshots(known, machine)}"
        for machine in dict.fromkeys(action.machine for action in actions if verb == "destroy")
    ]
    return Plan(name, known.environment, in_order(actions), asks=tuple(asks))


def _snapshots(known: Knowledge, machine: str) -> str:
    """In words, those that go with a machine."""
    names = known.records.snapshots.get(machine, ())
    return f" and its snapshots {', '.join(names)}" if names else ""


def plan_resume(environment: Environment | None, name: str, known: Knowledge, machines: Sequence[str]) -> Plan:
    """Resume what is suspended, those that others depend on first."""
    order = [spec.name for spec in environment.machines] if environment else sorted(known.observed.machines)
    chosen = {
        machine: seen
        for machine, seen in known.observed.machines.items()
        if (not machines or machine in machines) and seen.instance.state == "suspended"
    }
    actions = [
        Action(action_id(machine, "resume"), machine, "resume", chosen[machine].provider, "was asked for")
        for machine in dict.fromkeys((*order, *chosen))
        if machine in chosen
    ]
    ordered = ordered_by_dependencies(environment, actions, probe=False) if environment else actions
    return Plan(name, known.environment, in_order(ordered))


def with_dependencies(environment: Environment, machines: Sequence[str]) -> frozenset[str]:
    """The named machines, all when none is named, with those that they depend on."""
    waiting = list(machines or (spec.name for spec in environment.machines))
    chosen: set[str] = set()
    while waiting:
        name = waiting.pop()
        spec = environment.machine(name)
        if spec is not None and name not in chosen:
            chosen.add(name)
            waiting.extend(spec.depends_on)
    return frozenset(chosen)


def _orphans(environment: Environment, observed: Observed) -> dict[str, Seen]:
    names = {spec.name for spec in environment.machines}
    return {name: seen for name, seen in observed.machines.items() if name not in names}


def _leftover(seen: Seen) -> Action:
    machine = seen.instance.machine
    cause = f"is a remainder on provider {seen.provider}"
    return Action(f"{machine}/destroy@{seen.provider}", machine, "destroy", seen.provider, cause)


def step_action(
    spec: MachineSpec, step: Step, provider: str, cause: str, after: tuple[str, ...], *, reset: bool
) -> Action:
    """The action that runs a step once those in `after` are done. `reset`: what is recorded of it, and of those behind
    it, goes first."""
    return Action(
        action_id(spec.name, "provision", step.index),
        spec.name,
        "provision",
        provider,
        cause,
        "provision",
        after,
        step.name,
        step.index,
        reset,
        step.run == "always",
        lenient=step.on_failure == "continue",
    )


class _Machine:
    """The part of an `up` plan that concerns one machine."""

    def __init__(self, spec: MachineSpec, known: Knowledge, wish: Wish) -> None:
        self.spec, self.known, self.wish = spec, known, wish
        self.actions: list[Action] = []
        self.asks: list[str] = []

    def plan(self) -> None:
        seen = self.known.observed.machines.get(self.spec.name)
        if seen is None:
            self._make("does not exist")
        elif remains := self._remains():
            self._destroy(seen, remains)
            self._make("is made again")
        elif seen.instance.state == "broken":
            self._anew(seen, f"is broken: {seen.instance.reason}")
        else:
            self._adjust(seen)

    def _remains(self) -> str:
        """Why what there is was never whole, or is no more; nothing when it is."""
        unfinished = self.known.records.unfinished
        if (self.spec.name, "create") in unfinished:
            return "its creation was cut short"
        if (self.spec.name, "destroy") in unfinished:
            return "its removal was cut short"
        return ""

    def _adjust(self, seen: Seen) -> None:
        record = self.known.records.machines.get(self.spec.name)
        change = changes.of_instance(self.spec, seen, record, self.known.touches, self.known.salt)
        left = self._steps_left(seen)
        rebuild = left.rebuild if self.wish.provision else ""
        if change.level == "recreate" or rebuild or self.wish.recreate:
            cause = change.cause if change.level == "recreate" else rebuild or "was asked for"
            self._anew(seen, cause)
            return
        started = self._bring_up(seen, change)
        self._provision(left if not (started and seen.instance.volatile) else self._all_steps())
        self._await_ready()

    def _anew(self, seen: Seen, cause: str) -> None:
        lost = f"what is in it{_snapshots(self.known, self.spec.name)}"
        self.asks.append(f"machine '{self.spec.name}' would be made anew, losing {lost}: {cause}")
        self._destroy(seen, cause)
        self._make("is made again")

    def _bring_up(self, seen: Seen, change: changes.Change) -> bool:
        """Whether the machine will be started."""
        state, level = seen.instance.state, change.level
        is_up = state in ("running", "suspended")
        if is_up and level == "live" and _needs_backend(change) and not self.known.resizes(seen, self.spec):
            level = "restart"
        cut = "its stop was cut short" if (self.spec.name, "stop") in self.known.records.unfinished else ""
        if is_up and (level == "restart" or self.wish.restart or cut):
            cause = change.cause or cut or "was asked for"
            self._add("stop", seen.provider, cause, "restart")
            self._add("start", seen.provider, cause, "restart")
            return True
        if state in ("created", "stopped"):
            self._add("start", seen.provider, "; ".join(filter(None, (f"is {state}", change.cause))))
            return True
        if state == "suspended":
            self._add("resume", seen.provider, "is suspended")
        if change.keys:
            self._add("update", seen.provider, change.cause, "live")
        return False

    def _make(self, cause: str) -> None:
        provider = self.spec.provider
        start = self.known.start(self.spec) if self.wish.provision or self.wish.begin else Start()
        if not (start.origin or any(action.verb == "image" for action in self.actions)):
            self._add("image", provider, "is needed to make the machine")
        self._add("create", provider, f"{cause}{_beginning(start)}")
        self.actions[-1] = replace(self.actions[-1], layer=start.key, origin=start.origin)
        self._add("start", provider, cause)
        self._provision(self._all_steps(start.records))
        self._await_ready()

    def _destroy(self, seen: Seen, cause: str) -> None:
        self._add("image", self.spec.provider, "is needed to make the machine")
        self._add("destroy", seen.provider, cause, "recreate")

    def _provision(self, left: changes.StepsLeft) -> None:
        for index in left.indexes if self.wish.provision else ():
            step = next(step for step in self.spec.steps if step.index == index)
            after = (self.actions[-1].id,) if self.actions else ()
            action = step_action(
                self.spec, step, self.spec.provider, left.causes[index], after, reset=index == left.reset
            )
            self.actions.append(action)

    def _await_ready(self) -> None:
        if self.spec.ready is None:
            return
        if {action.verb for action in self.actions} - {"update"}:
            self._add("ready", self.spec.provider, "was started or provisioned")
        elif self.spec.name in self.known.records.unready:
            self._add("ready", self.spec.provider, "was not ready so far")

    def _steps_left(self, seen: Seen) -> changes.StepsLeft:
        record = self.known.records.machines.get(self.spec.name)
        known = record is not None and record.instance == seen.instance.id
        steps = self.known.records.steps.get(self.spec.name, ()) if known else ()
        stale = self.known.stale.get(self.spec.name, {})
        return changes.of_steps(self.spec.steps, steps, stale, self.known.salt, fresh=not known)

    def _all_steps(self, done: Sequence[StepRecord] = ()) -> changes.StepsLeft:
        return changes.of_steps(self.spec.steps, done, {}, self.known.salt, fresh=not done)

    def _add(self, verb: str, provider: str, cause: str, touches: str = "") -> None:
        after = (self.actions[-1].id,) if self.actions else ()
        name = self.spec.name
        self.actions.append(Action(action_id(name, verb), name, verb, provider, cause, touches, after))


def _beginning(start: Start) -> str:
    """What a new machine begins with, in words."""
    machine, _slash, snapshot = start.origin.partition("/")
    if snapshot:
        return f"; begins with snapshot '{snapshot}' of machine '{machine}'"
    return f"; begins with what step '{start.records[-1].name}' left" if start.key else ""


def _needs_backend(change: changes.Change) -> bool:
    return any(key.startswith("resources.") for key in change.keys)


def ordered_by_dependencies(environment: Environment, actions: Sequence[Action], *, probe: bool = True) -> list[Action]:
    """The same actions, those that bring a machine up waiting for what its `depends_on` names. `probe`: a machine that
    has nothing to do is asked whether it is ready where another waits for that."""
    by_machine: dict[str, list[Action]] = {}
    for action in actions:
        by_machine.setdefault(action.machine, []).append(action)
    result = list(actions)
    for spec in environment.machines:
        entry = next((action for action in by_machine.get(spec.name, ()) if _brings_up(action)), None)
        if entry is None:
            continue
        waits: list[str] = []
        for name, condition in spec.depends_on.items():
            if probe and condition == "ready":
                _add_probe(environment, by_machine.setdefault(name, []), name, result)
            waits += _milestone(by_machine.get(name, ()), condition)
        position = result.index(entry)
        result[position] = replace(entry, after=(*entry.after, *waits))
        by_machine[spec.name][by_machine[spec.name].index(entry)] = result[position]
    return result


def _brings_up(action: Action) -> bool:
    return action.verb in ("start", "resume", "provision")


def _add_probe(environment: Environment, actions: list[Action], name: str, result: list[Action]) -> None:
    """Let machine `name` be asked whether it is ready, unless its `actions` do so already or it has no probe."""
    spec = environment.machine(name)
    if spec and spec.ready and not any(action.verb == "ready" for action in actions):
        after = (actions[-1].id,) if actions else ()
        cause = "another machine waits for it"
        probe = Action(action_id(name, "ready"), name, "ready", spec.provider, cause, "", after)
        actions.append(probe)
        result.append(probe)


def _milestone(actions: Sequence[Action], condition: str) -> list[str]:
    """The id that must be done for a machine with these actions to meet `condition`, if there is one."""
    verbs: Mapping[str, tuple[str, ...]] = {
        "started": ("restore", "start", "resume"),
        "provisioned": ("restore", "start", "resume", "provision"),
        "ready": ("restore", "start", "resume", "provision", "ready"),
    }
    return [action.id for action in actions if action.verb in verbs[condition]][-1:]
