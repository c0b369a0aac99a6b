"""The verbs of the engine over one project: gather what is known, plan, check that the plan can be carried out,
apply."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envup import planner, staleness
from envup.claims import Claims
from envup.errors import RefusedError, UsageError
from envup.events import Event
from envup.plan import Action, Plan
from envup.planner import Knowledge, Wish
from envup.provider import OwnImages, Pause, Resize, Snapshots, Suspend
from envup.value import replace

if TYPE_CHECKING:
    from envup.apply import Report
    from envup.image import Image
    from envup.layers import Layering
    from envup.model import Environment, MachineSpec
    from envup.observe import Observed, Seen
    from envup.project import Project
    from envup.state.records import Records
    from envup.trust import Trust

_ABILITIES: Mapping[str, tuple[type, str]] = {
    "pause": (Pause, "pause machines"),
    "snapshots": (Snapshots, "take snapshots of machines"),
    "suspend": (Suspend, "suspend machines"),
}
"""Ability to its class, and what a provider without it cannot do."""


class Engine:
    """Plans for one project and carries them out. Use one a command, with the project's lock held for all that
    changes."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._environment: Environment | None = None
        self._observed: Observed | None = None
        self._trust: Trust | None = None
        self._wish = Wish()
        self._claims = Claims(project.home.data / "claims")
        self._made: dict[str, Image] = {}

    def plan_up(self, wish: Wish, *, provider: str | None = None) -> Plan:
        """What brings the machines to what the Envfile says. Errors: `EnvfileError`, `RefusedError`, `UsageError`."""
        from envup import freeing

        freeing.limit(os.environ)  # told before anything is changed
        environment, records = self._declared(provider, locked=wish.locked)
        self._require_known(wish.machines, [spec.name for spec in environment.machines])
        wanted = planner.with_dependencies(environment, wish.machines) if wish.machines else ()
        _require_steps(environment, wanted, wish.refresh)
        known, layering = self._knowledge(environment, records, wanted), self._layering(environment)
        self._wish = wish
        if wish.cache:
            known = replace(known, start=lambda spec: layering.start(spec, wish.refresh))
        if wish.begin:
            from envup import origins

            known = origins.begin(wish, known, environment, self.project)
        plan = planner.plan_up(environment, known, wish)
        if wish.begin:
            origins.require_kept(plan)
        self._preflight(plan, environment)
        return self._with_consent(plan, environment)

    def plan_provision(self, machines: Sequence[str], only: str | None = None, begin: str | None = None) -> Plan:
        """The steps once more, on machines that run: one, or those from one on. Errors: as `plan_up`, and `UsageError`
        for one that does not run."""
        environment, records = self._declared(None)
        names = [spec.name for spec in environment.machines]
        self._require_known(machines, names)
        known = self._knowledge(environment, records, machines)
        for name in machines or names:
            seen = known.observed.machines.get(name)
            if seen is None or seen.instance.state != "running":
                raise UsageError(f"machine '{name}' does not run", hint=f"`env up {name}` starts it")
        _require_steps(environment, machines, filter(None, (only, begin)))
        plan = planner.plan_provision(environment, known, machines, only, begin)
        self._preflight(plan, environment)
        return self._with_consent(plan, environment)

    def plan_down(self, machines: Sequence[str], verb: str) -> Plan:
        """What `stop`, `suspend`, `resume` or `destroy` (`verb`) does to the machines that there are; the Envfile
        may be broken or gone. Errors: `RefusedError` where a provider cannot suspend."""
        environment, known = self._there(machines)
        name = environment.name if environment else self.project.directory.name
        if verb == "resume":
            return planner.plan_resume(environment, name, known, machines)
        plan = planner.plan_down(environment, name, known, machines, verb)
        if verb == "suspend":
            self._require("suspend", {action.machine: action.provider for action in plan.actions})
        if verb == "destroy" and not plan.changes:
            self._settle_what_is_gone(known, everything=not machines)
        return plan

    def plan_snapshots(self, machines: Sequence[str], verb: str, name: str) -> Plan:
        """What `snapshot`, `restore` or `delete` (`verb`) of the snapshot `name` does to the machines that there are.
        Errors: `RefusedError` where a provider has no snapshots, `UsageError` for a name that is taken or unknown."""
        from envup import snapshots

        environment, known = self._there(machines)
        title = environment.name if environment else self.project.directory.name
        chosen = {
            machine: seen for machine, seen in known.observed.machines.items() if not machines or machine in machines
        }
        self._require("snapshots", {machine: seen.provider for machine, seen in chosen.items()})
        kept = snapshots.ask(self.project.provider, chosen)
        declared = {spec.name for spec in environment.machines} if environment else set()
        snapshots.require(kept, verb, name, declared | known.observed.machines.keys())
        if verb == "snapshot":
            snapshots.require_able(self.project.provider, chosen)
        if environment and verb == "restore":
            environment, known = self._as_in_snapshot(environment, known, chosen, name)
            self._environment = environment
        plan = snapshots.plan(environment, title, known, chosen, kept, verb, name)
        if environment is None:
            return plan
        self._preflight(plan, environment)
        return self._with_consent(plan, environment)

    def _as_in_snapshot(
        self, environment: Environment, known: Knowledge, machines: Iterable[str], name: str
    ) -> tuple[Environment, Knowledge]:
        """What there is on the providers that it is on, with the steps that had run in a snapshot of `machines`."""
        state, there = self.project.state, known.observed.machines
        specs = [
            replace(spec, provider=there[spec.name].provider) if spec.name in there else spec
            for spec in environment.machines
        ]
        steps = {machine: state.steps_of_snapshot(known.environment, machine, name) for machine in machines}
        records = replace(known.records, steps=steps)
        return replace(environment, machines=tuple(specs)), replace(known, records=records)

    def _there(self, machines: Sequence[str]) -> tuple[Environment | None, Knowledge]:
        """The Envfile, None where it is broken or gone, and what there is. Errors: `UsageError`."""
        try:
            environment = self.project.environment() if self.project.file else None
        except UsageError:
            environment = None
        known = self._knowledge(environment, self._records(), machines, files=False)
        declared = [spec.name for spec in environment.machines] if environment else []
        self._require_known(machines, [*declared, *known.observed.machines])
        self._environment = environment
        self._trust = self.project.trust(environment) if environment else None
        return environment, known

    def _require(self, ability: str, providers: Mapping[str, str]) -> None:
        """Refuse what the provider of one of the machines cannot do, naming those that can."""
        kind, words = _ABILITIES[ability]
        for machine, provider in providers.items():
            if not self._can(provider, ability):
                able = [one.name for one in self.project.usable_providers() if isinstance(one, kind)]
                raise RefusedError(
                    f"machine '{machine}': provider {provider} cannot {words}",
                    hint=f"these providers can: {', '.join(able)}"
                    if able
                    else "no other provider that is usable here can",
                )

    def _with_consent(self, plan: Plan, environment: Environment) -> Plan:
        """The same plan with what of it needs consent; looked at only where there is something to do."""
        if not plan.changes:
            return plan
        trust = self._trust = self.project.trust(environment)
        return replace(plan, consent=trust.pending(trust.of(plan.actions)))

    def agree(self, plan: Plan) -> None:
        """Keep that the user agreed to what the plan needs consent for."""
        if plan.consent:
            assert self._trust is not None, "plan first"
            self._trust.agree(plan.consent)

    def _require_consent(self, action: Action) -> None:
        if self._trust is not None:
            self._trust.require(action)

    def apply(self, plan: Plan, *, grace: float = 10.0) -> Report:
        """Carry out a plan of this engine. Emits events; handles signals; returns what came of it."""
        from envup.actions import Actions
        from envup.apply import apply
        from envup.output import masked

        project = self.project
        assert self._observed is not None, "plan first"
        emit = masked(project.emit, self._environment.secret_values() if self._environment else frozenset())
        actions = Actions(
            identity=project.identity,
            environment=self._environment,
            observed=self._observed,
            providers=project.provider,
            plugins=project.plugins,
            state=project.state,
            images=project.images,
            logs=project.log_directory,
            emit=emit,
            grace=grace,
            require_consent=self._require_consent,
            layering=self._layering(self._environment) if self._environment else None,
            claims=self._claims,
            entered=project.entered,
            wish=self._wish,
            made=self._made,
        )
        name = self._environment.name if self._environment else project.directory.name
        project.state.remember_environment(project.identity.id, name, project.directory, project.file)
        project.state.abandon(project.identity.id)
        try:
            report = apply(plan, actions.perform, project.state, emit)
            if not report.ok:
                from envup import snapshots

                back = snapshots.take_back(plan, report)
                report.failed |= apply(back, actions.perform, project.state, emit).failed
        finally:
            self._claims.release_all()
        self._forget_if_gone(plan, report)
        project.state.trim(project.identity.id)
        return report

    def _forget_if_gone(self, plan: Plan, report: Report) -> None:
        """Nothing is kept of an environment whose last machine was destroyed."""
        assert self._observed is not None, "plan first"
        gone = {action.machine for action in plan.actions if action.verb in ("destroy", "forget")}
        made = {action.machine for action in plan.actions if action.verb == "create"}
        if report.ok and gone and not made and not self._observed.silent and gone >= self._observed.machines.keys():
            self._empty_environment()

    def _empty_environment(self) -> None:
        import shutil

        shutil.rmtree(self.project.log_directory, ignore_errors=True)
        self.project.state.empty_environment(self.project.identity.id)

    def _settle_what_is_gone(self, known: Knowledge, *, everything: bool) -> None:
        """Clear what a command that died left where no backend has a machine: half-made images, open journal entries,
        and where `everything` was to go, all records."""
        unfinished = {key: on for key, on in known.records.unfinished.items() if on not in known.observed.silent}
        for machine in {name for name, _ in unfinished} - known.observed.machines.keys():
            self.project.state.settle(self.project.identity.id, machine)
        if any(action == "image" for _, action in unfinished):
            self.project.images.sweep()
        if everything and not known.observed.machines:
            self._empty_environment()

    def _declared(self, provider: str | None, *, locked: bool = False) -> tuple[Environment, Records]:
        records = self._records()
        self._environment = self.project.as_locked(self.project.settled(records, provider), strict=locked)
        return self._environment, records

    def _records(self) -> Records:
        """What is remembered; what a living command has begun is no remainder of a dead one."""
        project = self.project
        records = project.state.records(project.identity.id)
        return replace(records, unfinished={}) if records.unfinished and project.at_work() else records

    def _knowledge(
        self, environment: Environment | None, records: Records, machines: Collection[str], *, files: bool = True
    ) -> Knowledge:
        """What planning for `machines`, all when none is named, looks at. `files`: look whether what steps read and
        knew has changed. Errors: that of a provider which does not answer and has one of them, or may have."""
        project = self.project
        self._observed = project.observe(environment)
        for provider, error in self._observed.silent.items():
            if not machines or any(_may_be_on(provider, name, environment, records) for name in machines):
                raise error
        steps = records.steps.items() if files else ()
        stale = {
            machine: staleness.of_steps(done, environment, machine, project.identity.salt) for machine, done in steps
        }
        return Knowledge(
            project.identity.id,
            self._observed,
            records,
            stale,
            self._touches,
            self._can,
            self._resizes,
            project.identity.salt,
        )

    def claim(self, plan: Plan) -> bool:
        """Whether no other command makes a layer that this plan, which is about to be carried out, makes. Else that has
        been waited for, and the plan is to be made anew: machines may begin with more now."""
        if self._environment is None or not (self._wish.cache and self._wish.provision):
            return True
        environment, layering, missing = self._environment, self._layering(self._environment), list[str]()
        for action in plan.actions:
            spec = environment.machine(action.machine) if action.verb == "create" and not action.origin else None
            if spec is not None:
                missing += layering.missing(spec, action.layer)
        text = "waiting for another command that makes what these machines begin with"
        return self._claims.take(missing, lambda: self.project.emit(Event("note", text=text)))

    def _layering(self, environment: Environment) -> Layering:
        from envup.layers import Layering

        project = self.project
        salts = project.identity.salt, project.images.salt
        return Layering(environment, project.plugins, project.provider, self._digest, *salts)

    def _digest(self, spec: MachineSpec) -> str | None:
        """That of the image that this command got for a machine or would find, None where it is still to be got."""
        if spec.name in self._made:
            return self._made[spec.name].digest
        provider, store = self.project.provider(spec.provider), self.project.images
        if isinstance(provider, OwnImages) and spec.image.source in provider.sources:
            image = provider.find(spec.image)
        else:
            image = store.find(spec.image)
        return image.digest if image else None

    def _touches(self, provider: str, key: str) -> str:
        from envup.envfile.schema import touches

        top, _, rest = key.partition(".")
        own = self.project.provider(provider).touches
        if key in own or top in own:
            return own.get(key) or own[top]
        if top == provider:
            properties: dict[str, Any] = dict(self.project.plugins.info("provider", provider).manifest).get(
                "properties", {}
            )
            return str(properties.get(rest, {}).get("x-apply", "recreate"))
        return touches(top)

    def _can(self, provider: str, ability: str) -> bool:
        return isinstance(self.project.provider(provider), _ABILITIES[ability][0])

    def _resizes(self, seen: Seen, spec: MachineSpec) -> bool:
        provider = self.project.provider(seen.provider)
        return isinstance(provider, Resize) and provider.can_resize(seen.instance, spec)

    def _preflight(self, plan: Plan, environment: Environment) -> None:
        """Refuse now what would fail later for a reason that is already known."""
        from envup.project import lacks

        begun = [action for action in plan.actions if action.verb in ("create", "start")]
        for name in sorted({action.provider for action in begun}):
            missing = lacks(self.project.provider(name))
            if missing:
                raise RefusedError(
                    f"provider {name} is not usable here", details="\n".join(missing), hint="see `env doctor`"
                )
        for machine, name in dict.fromkeys((action.machine, action.provider) for action in begun):
            self._require_honoured(environment, environment.machine(machine), name)
        self._require_files(plan, environment)

    def _require_honoured(self, environment: Environment, spec: MachineSpec | None, provider: str) -> None:
        """What a provider could give when the machine was made, it need not be able to give now."""
        reasons = tuple(self.project.check(environment, self.project.provider(provider), spec)) if spec else ()
        if spec and reasons:
            brief = f"machine '{spec.name}': provider {provider} cannot start it as declared"
            raise RefusedError(brief, details="\n".join(reasons))

    def _require_files(self, plan: Plan, environment: Environment) -> None:
        steps = [
            (spec.name, spec.steps[action.step])
            for action in plan.actions
            if action.verb == "provision" and (spec := environment.machine(action.machine))
        ]
        if not steps:
            return
        from envup.provisioner import StepContext

        context = StepContext(environment.directory)
        for machine, step in steps:
            for read in self.project.plugins.provisioner(step.kind)().reads(step, context):
                path = read if isinstance(read, Path) else read[0]
                if not _is_there(path):
                    raise UsageError(
                        f"{path} does not exist, or is not to be seen by you; step '{step.name}' of machine '{machine}'"
                        " reads it"
                    )

    def _require_known(self, wanted: Sequence[str], known: Sequence[str]) -> None:
        for name in wanted:
            if name not in known:
                from difflib import get_close_matches

                close = get_close_matches(name, known, 1)
                there = f"there are {', '.join(dict.fromkeys(known))}" if known else "there are none"
                raise UsageError(
                    f"there is no machine '{name}'", hint=f"did you mean '{close[0]}'?" if close else there
                )


def _require_steps(environment: Environment, machines: Collection[str], names: Iterable[str]) -> None:
    """Refuse a name that is of no step of these machines, all when there is none. Errors: `UsageError`."""
    chosen = [spec for spec in environment.machines if not machines or spec.name in machines]
    steps = dict.fromkeys(step.name for spec in chosen for step in spec.steps)
    for name in names:
        if name not in steps:
            there = f"there are {', '.join(steps)}" if steps else "there are none"
            raise UsageError(f"there is no step '{name}'", hint=there)


def _may_be_on(provider: str, machine: str, environment: Environment | None, records: Records) -> bool:
    """Whether a machine is, was or is to be on a provider, for all that is recorded and declared."""
    record = records.machines.get(machine)
    declared = environment.machine(machine) if environment else None
    known = {one.provider for one in (record, declared) if one}
    return not known or provider in known


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False
