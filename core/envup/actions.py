"""What each verb of a plan does: calls the provider, the store or the provisioner, and records what came of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from envup import children, content, facts
from envup import spec as specs
from envup.changes import once
from envup.errors import EnvupError
from envup.events import Emit, Event
from envup.fetching import Fetching
from envup.image import Image
from envup.images.store import Store
from envup.machine import Machine
from envup.model import Environment, MachineSpec, Step
from envup.observe import Observed
from envup.output import masked_output
from envup.plan import Action
from envup.plugins import Host
from envup.probe import wait_until_ready
from envup.provider import Flush, Instance, OwnImages, Provider, Resize, Snapshots, Suspend
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
    """Carries out the actions of one plan. `logs` is the directory of this environment's step logs."""

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
    ) -> None:
        self._identity, self._environment, self._providers = identity, environment, providers
        self._plugins, self._state, self._images = plugins, state, images
        self._logs, self._emit, self._grace = logs, emit, grace
        self._instances = {name: seen.instance for name, seen in observed.machines.items()}
        self._strays = {(seen.provider, seen.instance.machine): seen.instance for seen in observed.strays}
        self._made: dict[str, Image] = {}
        self._fetching = Fetching()
        self._lock = threading.Lock()
        self._redact = environment.secret_values() if environment else frozenset()

    def perform(self, action: Action) -> None:
        """Carry out one action. Errors: `EnvupError`."""
        verbs: Mapping[str, Callable[[Action], None]] = {
            "image": self._image,
            "create": self._create,
            "start": self._start,
            "stop": self._stop,
            "suspend": self._suspend,
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
        spec, provider, image = self._spec(action), self._providers(action.provider), self._made[action.machine]
        summary = specs.summary(spec, self._identity.salt)
        labels = {
            "envup.environment": self._identity.id,
            "envup.machine": spec.name,
            "envup.project": str(self._identity.directory),
            "envup.spec": specs.digest(summary),
            "envup.image": image.digest,
            "envup.format": FORMAT,
            VARIABLES: json.dumps(dict(image.environment)),
        }
        if self._seen(provider, spec.name):
            raise EnvupError(
                f"machine '{spec.name}' appeared meanwhile", hint="look at `env status`; then `env up` again"
            )
        try:
            instance = provider.create(_with_variables(spec, labels), image, labels)
        except EnvupError as error:
            self._undo(provider, spec.name, error)
            raise
        self._remember(action, instance)
        self._state.settle(self._identity.id, spec.name)

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

    def _stop(self, action: Action) -> None:
        self._providers(action.provider).stop(self._instances[action.machine], grace=self._grace)

    def _suspend(self, action: Action) -> None:
        self._freezer(action).suspend(self._instances[action.machine])

    def _resume(self, action: Action) -> None:
        self._freezer(action).resume(self._instances[action.machine])

    def _freezer(self, action: Action) -> Suspend:
        provider = self._providers(action.provider)
        if not isinstance(provider, Suspend):
            raise EnvupError(f"provider {provider.name} cannot suspend and resume machines")
        return provider

    def _snapshot(self, action: Action) -> None:
        self._keeper(action).take_snapshot(self._instances[action.machine], action.detail)
        self._state.keep_with_snapshot(self._identity.id, action.machine, action.detail)

    def _restore(self, action: Action) -> None:
        """The record goes first: after a crash between the two, steps run once more rather than never."""
        provider, instance = self._keeper(action), self._instances[action.machine]
        memory = any(kept.memory for kept in provider.snapshots(instance) if kept.name == action.detail)
        self._state.keep_with_snapshot(self._identity.id, action.machine, _BEFORE)
        self._state.go_back_to_snapshot(self._identity.id, action.machine, action.detail, spec=memory)
        try:
            restored = provider.restore_snapshot(instance, action.detail)
        except EnvupError:
            self._state.go_back_to_snapshot(self._identity.id, action.machine, _BEFORE, spec=True)
            raise
        finally:
            self._state.forget_snapshot(self._identity.id, action.machine, _BEFORE)
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
        self._state.forget_machine(self._identity.id, action.machine)
        self._state.settle(self._identity.id, action.machine)

    def _ready(self, action: Action) -> None:
        spec = self._spec(action)
        assert spec.ready is not None, "the planner asks only for probes that are declared"
        with self._machine(action, spec) as machine:
            wait_until_ready(spec.ready, machine)

    def _provision(self, action: Action) -> None:
        spec = self._spec(action)
        step = spec.steps[action.step]
        provisioner = self._plugins.provisioner(step.kind)()
        context = StepContext(self._directory, self._facts(spec.name))
        self._adopt(action)
        position = next((place for place, other in enumerate(once(spec.steps)) if other.index == step.index), None)
        if action.reset and position is not None:
            self._state.forget_steps(self._identity.id, spec.name, position)
        digest, files = content.note(provisioner.reads(step, context))
        with self._machine(action, spec) as machine:
            machine.announce(step.name, provisioner.describe(step))
            try:
                provisioner.run(step, machine, context)
            except StepFailed as error:
                error.log = str(self._log_path(action))
                raise
        if children.cancelled():
            raise EnvupError(f"step '{step.name}' was interrupted")
        if position is not None:
            provider = self._providers(action.provider)
            if isinstance(provider, Flush):
                provider.flush(self._instances[spec.name])
            self._record(spec, step, position, digest, files)

    def _facts(self, machine: str) -> Mapping[str, Any]:
        assert self._environment is not None, "steps come from an Envfile"
        with self._lock:
            instances = dict(self._instances)
        machines = [
            _with_variables(spec, instances[spec.name].labels) if spec.name in instances else spec
            for spec in self._environment.machines
        ]
        return facts.of(replace(self._environment, machines=tuple(machines)), instances, machine)

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
        summary = specs.summary(self._spec(action), self._identity.salt)
        with self._lock:
            self._instances[action.machine] = instance
        record = MachineRecord(action.provider, instance.id, summary)
        self._state.remember_machine(self._identity.id, action.machine, record)

    @contextmanager
    def _machine(self, action: Action, spec: MachineSpec) -> Iterator[Machine]:
        with self._log(action) as log:
            yield Machine(
                self._providers(action.provider),
                self._instances[spec.name],
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
            return provider.obtain(spec.image, tell, refresh=refresh)
        return store.ensure(spec.image, tell, action=action, machine=spec.name, refresh=refresh)


def _with_variables(spec: MachineSpec, labels: Mapping[str, str]) -> MachineSpec:
    """The declaration of a machine with these labels with the variables of its image, over which its own win."""
    return replace(spec, environment={**json.loads(labels[VARIABLES]), **spec.environment})
