"""Which steps of a machine are kept as layers of its provider, by which keys, and what a new machine can begin with.

A key is a digest of all that led to the files: the image, and of each step up to that one what it says, the content of
what it reads, and the variables and the user that it runs with. So the same key is the same layer in any project of a
user. Steps behind one that runs always, that does something on the host or that names a mount are in no layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

from envup import content, facts, mounted
from envup import spec as specs
from envup.changes import Start, once
from envup.errors import EnvupError
from envup.model import Environment, MachineSpec, Step
from envup.plugins import Host
from envup.provider import Layer, Layers, Provider
from envup.provisioner import StepContext
from envup.state.records import StepRecord
from envup.value import Value

FORMAT = 1
"""Of what is digested; another makes every layer another."""


class Kept(Value):
    """One step that may be kept. `record` is what is recorded of it once it has run; `key` names the layer after it,
    `below` the one before it, empty before the first."""

    step: Step
    key: str
    below: str
    record: StepRecord


class Layering:
    """The layers of one environment. `salt` is the environment's, which records are keyed with; `own` the user's, which
    keys are."""

    def __init__(
        self,
        environment: Environment,
        plugins: Host,
        providers: Callable[[str], Provider],
        digest: Callable[[MachineSpec], str | None],
        salt: str,
        own: Callable[[], str],
    ) -> None:
        """`digest` gives that of a machine's image, None where it is not here yet."""
        self._environment, self._plugins, self._providers = environment, plugins, providers
        self._digest, self._salt, self._make_own = digest, salt, own
        self._there: dict[str, Mapping[str, Layer]] = {}

    @cached_property
    def _own(self) -> str:
        return self._make_own()

    def keeper(self, spec: MachineSpec) -> Layers | None:
        """The provider of a machine, if it keeps layers of machines declared so."""
        provider = self._providers(spec.provider)
        return provider if isinstance(provider, Layers) and provider.keeps_layers(spec) else None

    def start(self, spec: MachineSpec, refresh: frozenset[str] = frozenset()) -> Start:
        """The deepest layer that there is of a machine; steps named in `refresh` and those behind them are in none."""
        digest = self._digest(spec) if spec.steps else None
        keeper = self.keeper(spec) if digest is not None else None
        if keeper is None or digest is None:
            return Start()
        if spec.provider not in self._there:
            self._there[spec.provider] = {layer.key: layer for layer in keeper.layers()}
        return [Start(), *self._starts(spec, digest, self._there[spec.provider], refresh)][-1]

    def _starts(
        self, spec: MachineSpec, digest: str, there: Mapping[str, Layer], refresh: frozenset[str] = frozenset()
    ) -> Iterator[Start]:
        """What a machine can begin with, the deepest last."""
        records = []
        for kept in self.chain(spec, digest):
            if kept.step.name in refresh:
                return
            records.append(kept.record)
            layer = there.get(kept.key)
            if layer is not None and self._fits(layer, spec):
                known = layer.note["facts"]
                yield Start(kept.key, tuple(map(self._with_facts(spec), records, known)), tuple(known))

    def missing(self, spec: MachineSpec, key: str) -> list[str]:
        """Keys of the layers that a machine will leave which begins with the one of that key, or with its image; where
        the image is not here yet, what is the same for all who need the same layers."""
        if not spec.steps or self.keeper(spec) is None:
            return []
        keys = [kept.key for kept in self.chain(spec, self._digest(spec) or self._of_reference(spec))]
        return keys[keys.index(key) + 1 :] if key in keys else keys

    def _of_reference(self, spec: MachineSpec) -> str:
        """Stands for the digest of an image that nobody has got so far."""
        return specs.digest(["image", spec.provider, spec.image.source, dict(spec.image.options), self._own])

    def of(self, spec: MachineSpec, key: str) -> Start | None:
        """What a machine begins with that begins with a layer, if that is there and fits."""
        keeper, digest = self.keeper(spec), self._digest(spec)
        if keeper is None or digest is None:
            return None
        there = {layer.key: layer for layer in keeper.layers() if layer.key == key}
        return next(self._starts(spec, digest, there), None)

    def chain(self, spec: MachineSpec, digest: str) -> Iterator[Kept]:
        """The steps that may be kept, in order, for a machine of the image with that digest. What a step reads and is
        missing ends it: that is told before the step runs."""
        key, below = specs.digest(["envup", FORMAT, digest]), ""
        variables = {
            name: specs.hidden(value, self._own) if name in spec.secrets else value
            for name, value in spec.environment.items()
        }
        positions = {step.index: place for place, step in enumerate(once(spec.steps))}
        for step in spec.steps:
            if step.run == "never":
                continue
            read = self._read(step, spec) if step.run == "once" else None
            if read is None:
                return
            said = specs.definition(step, self._own)
            key = specs.digest([key, said, read[0], variables, spec.user])
            definition = specs.definition(step, self._salt)
            yield Kept(step, key, below, StepRecord(positions[step.index], step.name, definition, *read))
            below = key

    def note(self, known: facts.Facts, machine: str) -> Mapping[str, Any]:
        """What a layer is to say of the facts that its step looked at."""
        return facts.note(known, self._environment, machine, self._own)

    def _read(self, step: Step, spec: MachineSpec) -> tuple[str, Mapping[str, Any]] | None:
        """What `content.note` says of a step, None where it must not be kept."""
        provisioner = self._plugins.provisioner(step.kind)()
        context = StepContext(self._environment.directory)
        try:
            if provisioner.host_code(step, context) is not None:
                return None
            if mounted.is_named(spec, step, provisioner.programs(step, context)):
                return None
            return content.note(provisioner.reads(step, context))
        except (EnvupError, OSError):
            return None

    def _fits(self, layer: Layer, spec: MachineSpec) -> bool:
        """Whether what its steps knew of machines is declared here as it was there."""
        return all(facts.unchanged(noted, self._environment, spec.name, self._own) for noted in layer.note["facts"])

    def _with_facts(self, spec: MachineSpec) -> Callable[[StepRecord, Mapping[str, Any]], StepRecord]:
        """Makes the record of a step that looked at the facts which a layer notes."""

        def made(record: StepRecord, noted: Mapping[str, Any]) -> StepRecord:
            parts = noted.get("facts", {}).get("parts", ())
            known = facts.Facts(dict)
            known.used.update(parts)
            told = facts.note(known, self._environment, spec.name, self._salt)
            return StepRecord(record.position, record.name, record.definition, record.content, {**record.files, **told})

        return made
