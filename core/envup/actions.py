"""What each verb of a plan does: calls the provider, the store or the provisioner, and records what came of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from envup import children, content, facts
from envup import spec as specs
from envup.changes import PIN, Start, once
from envup.claims import Claims
from envup.entered import Entered
from envup.errors import EnvupError
from envup.events import Emit, Event
from envup.fetching import Fetching
from envup.image import Image
from envup.images import pinning
from envup.images.store import Store
from envup.keeping import Keeping
from envup.layers import Layering
from envup.machine import Machine
from envup.model import Environment, MachineSpec, Step
from envup.observe import Observed
from envup.output import masked_output
from envup.plan import Action
from envup.planner import Wish
from envup.plugins import Host
from envup.probe import wait_until_ready
from envup.provider import Flush, Instance, OwnImages, Pause, Provider, Resize, Snapshots, Suspend
from envup.provisioner import StepContext, StepFailed
from envup.state.identity import Identity
from envup.state.records import MachineRecord, State, StepRecord
from envup.value import replace

FORMAT = "1"
"""Value of the label `envup.format`."""
VARIABLES = "envup.variables"
"""The label with the variables of the machine's image. It stays with the machine whatever becomes of the image, which
may be removed from the store or stand there under the digest of another with other variables."""

_BEFORE = ""
"""Under which the record of a machine is kept while a snapshot is restored; no snapshot is named so."""


class Actions:
    """Carries out the actions of one plan. `logs` is the directory of this environment's step logs; `made` gets the
    images that machines are made from."""

    def __init__(
        self,
        *,
        identity: Identity,
        environment: Environment | None,
        observed: Observed,
        providers: Callable[[str], Provider],
        plugins: Host,
        state: State,
        images: Store,
        logs: Path,
        emit: Emit,
        grace: float,
        require_consent: Callable[[Action], None],
        layering: Layering | None,
        claims: Claims,
        entered: Entered,
        wish: Wish,
        made: dict[str, Image],
    ) -> None:
        self._identity, self._environment, self._providers = identity, environment, providers
        self._plugins, self._state, self._images = plugins, state, images
        self._logs, self._emit, self._grace, self._require_consent = logs, emit, grace, require_consent
        self._instances = {name: seen.instance for name, seen in observed.machines.items()}
        self._homes = {name: seen.provider for name, seen in observed.machines.items()}
        self._strays = {(seen.provider, seen.instance.machine): seen.instance for seen in observed.strays}
        self._made = made
        self._layering, self._entered, self._wish = layering, entered, wish
        self._pauses: dict[str, AbstractContextManager[None]] = {}
        self._returns: dict[str, int] = {}
        self._fetching = Fetching()
        self._lock = threading.Lock()
        self._redact = environment.secret_values() if environment else frozenset()
        self._keeping = Keeping(layering, claims, entered, wish, emit, memory=not self._redact) if layering else None

    def perform(self, action: Action) -> None:
        """Carry out one action. That the user agreed is looked at once more: programs of a machine that is up may have
        changed what they can write of the project. Errors: `EnvupError`."""
        self._require_consent(action)
        verbs: Mapping[str, Callable[[Action], None]] = {
            "image": self._image,
            "create": self._create,
            "start": self._start,
            "stop": self._stop,
            "suspend": self._suspend,
            "pause": self._pause,
            "resume": self._resume,
            "snapshot": self._snapshot,
            "restore": self._restore,
            "delete": self._delete,
            "update": self._update,
            "destroy": self._destroy,
            "forget": self._forget,
            "provision": self._provision,
            "ready": self._ready,
        }
        verbs[action.verb](action)

    def _image(self, action: Action) -> None:
        spec, provider = self._spec(action), self._providers(action.provider)
        self._made[action.machine] = self._fetching.get(
            spec,
            lambda: obtain(provider, self._images, spec, self._emit, action=action.id, redact=self._redact),
        )

    def _create(self, action: Action) -> None:
        spec, provider = self._spec(action), self._providers(action.provider)
        if self._seen(provider, spec.name):
            raise EnvupError(
                f"machine '{spec.name}' appeared meanwhile", hint="look at `env status`; then `env up` again"
            )
        start = self._start_of(action, spec)
        keeping = None if action.origin else self._keeping
        if keeping and self._wish.provision:
            keeping.expect(spec, start)
        make = self._copied if action.origin else self._from_image
        try:
            instance = make(action, spec, start)
        except EnvupError as error:
            self._undo(provider, spec.name, error)
            raise
        self._remember(action, instance)
        for record in start.records:
            self._state.remember_step(self._identity.id, spec.name, instance.id, record)
        if keeping:
            keeping.begin(spec.name, start)
        self._state.settle(self._identity.id, spec.name)

    def _from_image(self, action: Action, spec: MachineSpec, start: Start) -> Instance:
        image = self._made[action.machine]
        labels = self._labels(spec, image.digest, json.dumps(dict(image.environment)), image.locked.digest)
        provider = self._providers(action.provider)
        return provider.create(_with_variables(spec, labels), replace(image, layer=start.key), labels)

    def _copied(self, action: Action, spec: MachineSpec, start: Start) -> Instance:
        machine, _slash, snapshot = start.origin.partition("/")
        source = self._instances[machine]
        labels = self._labels(spec, source.labels["envup.image"], source.labels[VARIABLES], source.labels.get(PIN, ""))
        return self._keeper(action).copy_snapshot(source, snapshot, _with_variables(spec, labels), labels)

    def _labels(self, spec: MachineSpec, image: str, variables: str, pin: str) -> dict[str, str]:
        return {
            "envup.environment": self._identity.id,
            "envup.machine": spec.name,
            "envup.project": str(self._identity.directory),
            "envup.spec": specs.digest(specs.summary(spec, self._identity.salt)),
            "envup.image": image,
            "envup.format": FORMAT,
            VARIABLES: variables,
            PIN: pin,
        }

    def _start_of(self, action: Action, spec: MachineSpec) -> Start:
        """What the plan has the machine begin with. Errors: `EnvupError`, it has gone or holds no more."""
        if action.origin:
            from envup.origins import Origin

            assert self._environment is not None, "new machines come from an Envfile"
            return Origin(action.origin, self._environment, self._identity).start(spec, self._state)
        if not action.layer:
            return Start()
        assert self._layering is not None, "layers come from an Envfile"
        start = self._layering.of(spec, action.layer)
        if start is None:
            brief = (
                f"the layer that machine '{spec.name}' was to begin with is gone, or what its steps read has changed"
            )
            raise EnvupError(brief, hint="run the command again")
        return start

    def _seen(self, provider: Provider, machine: str) -> list[Instance]:
        return [instance for instance in provider.observe(self._identity.id) if instance.machine == machine]

    def _undo(self, provider: Provider, machine: str, cause: EnvupError) -> None:
        """Remove what a creation that failed left. Journalled as a removal, so that one that fails is done later."""
        entry = self._state.begin(self._identity.id, machine, "destroy", provider.name)
        try:
            for instance in self._seen(provider, machine):
                provider.destroy(instance)
        except EnvupError as error:
            cause.details = "\n".join(filter(None, (cause.details, f"and what it left could not be removed: {error}")))
        else:
            self._state.end(entry, "done")

    def _start(self, action: Action) -> None:
        provider, instance = self._providers(action.provider), self._instances[action.machine]
        spec = _with_variables(self._spec(action), instance.labels)
        self._remember(action, provider.start(instance, spec))
        if (entry := self._returns.pop(action.machine, None)) is not None:
            self._state.end(entry, "done")

    def _stop(self, action: Action) -> None:
        self._providers(action.provider).stop(self._instances[action.machine], grace=self._grace)
        self._turn(action, "stopped")

    def _suspend(self, action: Action) -> None:
        provider = self._providers(action.provider)
        if action.detail and isinstance(provider, Flush):  # a snapshot is taken, which others may begin with
            provider.flush(self._instances[action.machine])
        self._freezer(action).suspend(self._instances[action.machine])
        self._turn(action, "suspended")

    def _pause(self, action: Action) -> None:
        provider = self._providers(action.provider)
        assert isinstance(provider, Pause), "the plan pauses only what can be"
        pause = provider.paused(self._instances[action.machine])
        pause.__enter__()
        self._pauses[action.machine] = pause

    def _resume(self, action: Action) -> None:
        if (pause := self._pauses.pop(action.machine, None)) is not None:
            pause.__exit__(None, None, None)
            return
        if action.last and isinstance(self._providers(action.provider), Pause):
            return  # to pause it failed
        self._freezer(action).resume(self._instances[action.machine])
        self._turn(action, "running")

    def _turn(self, action: Action, state: str) -> None:
        """What the steps of others are to know of this machine."""
        with self._lock:
            self._instances[action.machine] = replace(self._instances[action.machine], state=state)

    def _freezer(self, action: Action) -> Suspend:
        provider = self._providers(action.provider)
        if not isinstance(provider, Suspend):
            raise EnvupError(f"provider {provider.name} cannot suspend and resume machines")
        return provider

    def _snapshot(self, action: Action) -> None:
        self._keeper(action).take_snapshot(self._instances[action.machine], action.detail)
        self._state.keep_with_snapshot(self._identity.id, action.machine, action.detail)

    def _restore(self, action: Action) -> None:
        """Meanwhile those steps alone are recorded that have run in both: after a crash, steps run once more rather
        than never. A machine that ran is journalled as one whose start has begun, until it has ended."""
        provider, instance = self._keeper(action), self._instances[action.machine]
        memory = any(kept.memory for kept in provider.snapshots(instance) if kept.name == action.detail)
        snapshot = self._identity.id, action.machine, action.detail
        if action.touches and not memory:
            self._returns[action.machine] = self._state.begin(*snapshot[:2], "start", action.provider)
        self._state.keep_with_snapshot(*snapshot[:2], _BEFORE)
        self._state.go_back_to_snapshot(*snapshot, spec=memory, steps=self._state.steps_in_common(*snapshot))
        try:
            restored = provider.restore_snapshot(instance, action.detail)
        except EnvupError:
            self._state.go_back_to_snapshot(*snapshot[:2], _BEFORE, spec=True)
            raise
        else:
            self._state.go_back_to_snapshot(*snapshot, spec=memory)
        finally:
            self._state.forget_snapshot(*snapshot[:2], _BEFORE)
        if (pause := self._pauses.pop(action.machine, None)) is not None:
            pause.__exit__(None, None, None)
        with self._lock:
            self._instances[action.machine] = restored

    def _delete(self, action: Action) -> None:
        self._keeper(action).delete_snapshot(self._instances[action.machine], action.detail)
        self._state.forget_snapshot(self._identity.id, action.machine, action.detail)

    def _keeper(self, action: Action) -> Snapshots:
        provider = self._providers(action.provider)
        if not isinstance(provider, Snapshots):
            raise EnvupError(f"provider {provider.name} cannot take snapshots of machines")
        return provider

    def _update(self, action: Action) -> None:
        provider, instance = self._providers(action.provider), self._instances[action.machine]
        if isinstance(provider, Resize):
            provider.resize(instance, self._spec(action))
        self._remember(action, instance)

    def _destroy(self, action: Action) -> None:
        provider = self._providers(action.provider)
        stray = self._strays.get((action.provider, action.machine)) if "@" in action.id else None
        provider.destroy(stray or self._instances[action.machine])
        if stray is None:
            self._forget(action)

    def _forget(self, action: Action) -> None:
        self._entered.forget(action.machine)
        self._state.forget_machine(self._identity.id, action.machine)
        self._state.settle(self._identity.id, action.machine)

    def _ready(self, action: Action) -> None:
        spec = self._spec(action)
        assert spec.ready is not None, "the planner asks only for probes that are declared"
        with self._log(action) as log:
            wait_until_ready(spec.ready, self._machine(action, spec.name, log))

    def _provision(self, action: Action) -> None:
        spec = self._spec(action)
        step = spec.steps[action.step]
        provisioner = self._plugins.provisioner(step.kind)()
        context, known = StepContext(self._directory), facts.Facts(partial(self._facts, spec.name))
        self._adopt(action)
        position = next((place for place, other in enumerate(once(spec.steps)) if other.index == step.index), None)
        if action.reset and position is not None:
            self._state.forget_steps(self._identity.id, spec.name, position)
        digest, files = content.note(provisioner.reads(step, context))
        with self._log(action) as log:
            machine = self._machine(action, spec.name, log)
            machine.announce(step.name, provisioner.describe(step))
            reach = partial(self._machine, action, log=log)
            try:
                provisioner.run(step, machine, replace(context, facts=known, reach=reach))
            except StepFailed as error:
                error.log = str(self._log_path(action))
                raise
            finally:
                held = self._keeping.take(spec.name) if self._keeping else None
        if children.cancelled():
            raise EnvupError(f"step '{step.name}' was interrupted")
        if position is not None:
            provider = self._providers(action.provider)
            if isinstance(provider, Flush):
                provider.flush(self._instances[spec.name])
            self._record(spec, step, position, digest, {**files, **self._known(spec.name, known)})
            if held is not None:
                assert self._keeping is not None, "it held something for its layers"
                self._keeping.keep(action, spec, self._instances[spec.name], held, digest, known)

    def _facts(self, machine: str) -> Mapping[str, Any]:
        assert self._environment is not None, "steps come from an Envfile"
        with self._lock:
            instances = dict(self._instances)
        machines = [
            _with_variables(spec, instances[spec.name].labels) if spec.name in instances else spec
            for spec in self._environment.machines
        ]
        return facts.of(replace(self._environment, machines=tuple(machines)), instances, machine)

    def _known(self, machine: str, known: facts.Facts) -> Mapping[str, Any]:
        assert self._environment is not None, "steps come from an Envfile"
        return facts.note(known, self._environment, machine, self._identity.salt)

    def _record(self, spec: MachineSpec, step: Step, position: int, digest: str, files: Mapping[str, object]) -> None:
        definition = specs.definition(step, self._identity.salt)
        record = StepRecord(position, step.name, definition, digest, dict(files))
        self._state.remember_step(self._identity.id, spec.name, self._instances[spec.name].id, record)

    def _adopt(self, action: Action) -> None:
        """Record a machine that is known only from its labels, so that its steps can be recorded."""
        records = self._state.records(self._identity.id)
        instance = self._instances[action.machine]
        known = records.machines.get(action.machine)
        if known is None or known.instance != instance.id:
            self._remember(action, instance)

    def _remember(self, action: Action, instance: Instance) -> None:
        spec = replace(self._spec(action), provider=action.provider)
        summary = specs.summary(spec, self._identity.salt)
        with self._lock:
            self._instances[action.machine], self._homes[action.machine] = instance, action.provider
        record = MachineRecord(action.provider, instance.id, summary)
        self._state.remember_machine(self._identity.id, action.machine, record)

    def _machine(self, action: Action, name: str, log: BinaryIO) -> Machine:
        spec = self._environment.machine(name) if self._environment else None
        if spec is None:
            raise EnvupError(f"machine '{name}' is not in the Envfile")
        with self._lock:
            instance, provider = self._instances.get(name), self._homes.get(name, "")
        if instance is None or (name != action.machine and instance.state != "running"):
            raise EnvupError(
                f"machine '{name}' does not run", hint=f"have '{action.machine}' wait for it: depends_on: [{name}]"
            )
        if name != action.machine and self._keeping:
            self._keeping.reach(name)
        return Machine(
            self._providers(provider),
            instance,
            spec,
            emit=self._emit,
            action=action.id,
            log=log,
            redact=self._redact,
        )

    def _log_path(self, action: Action) -> Path:
        return self._logs / f"{action.machine}.log"

    @contextmanager
    def _log(self, action: Action) -> Iterator[BinaryIO]:
        path = self._log_path(action)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = path.open("ab", buffering=0)
        except OSError as error:
            raise EnvupError(f"cannot write the log {path}: {error.strerror}") from error
        with file:
            yield file

    def _spec(self, action: Action) -> MachineSpec:
        spec = self._environment.machine(action.machine) if self._environment else None
        if spec is None:
            raise EnvupError(f"machine '{action.machine}' is not in the Envfile")
        return spec

    @property
    def _directory(self) -> Path:
        return self._environment.directory if self._environment else self._identity.directory


def obtain(
    provider: Provider,
    store: Store,
    spec: MachineSpec,
    emit: Emit,
    *,
    action: str,
    redact: frozenset[str] = frozenset(),
    refresh: bool = False,
) -> Image:
    """The image of a machine: from its provider where that gets images of this source itself, else from the store. The
    values in `redact` are in no output."""

    def stamped(event: Event) -> None:
        emit(replace(event, action=action, machine=spec.name))

    with masked_output(stamped, redact) as tell:
        if isinstance(provider, OwnImages) and spec.image.source in provider.sources:
            image = provider.obtain(spec.image, tell, refresh=refresh)
            pinning.require(spec.image, image.locked)
            return image
        return store.ensure(spec.image, tell, action=action, machine=spec.name, refresh=refresh)


def _with_variables(spec: MachineSpec, labels: Mapping[str, str]) -> MachineSpec:
    """The declaration of a machine with these labels with the variables of its image, over which its own win."""
    return replace(spec, environment={**json.loads(labels[VARIABLES]), **spec.environment})
