"""Which provider each machine goes to, and whether that provider can honour what the machine asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property

from envup import spec as specs
from envup.errors import EnvupError, RefusedError
from envup.model import Environment, MachineSpec
from envup.provider import ISOLATION, Provider
from envup.state.identity import Identity
from envup.state.records import Records
from envup.value import replace

Examined = Iterator[tuple[Provider | None, tuple[str, ...]]]


class Resolver:
    """Settles providers. `examine` gives the installed providers one by one with what each lacks; none is examined
    twice, nor before it is needed. `check` asks one, see `Provider.check`."""

    def __init__(
        self,
        identity: Identity,
        records: Records,
        provider: Callable[[str], Provider],
        examine: Callable[[], Examined],
        check: Callable[[Provider, MachineSpec], Sequence[str]] = lambda provider, spec: provider.check(spec),
    ) -> None:
        self._identity, self._records, self._provider, self._examine = identity, records, provider, examine
        self._check = check
        self._examined: list[tuple[Provider | None, tuple[str, ...]]] = []
        self._unexamined: Examined | None = None
        self._free: Sequence[MachineSpec] = ()

    def settle(self, environment: Environment) -> Environment:
        """The same environment with no machine left on `auto`, none on a provider that cannot honour it, and only
        machines of one provider as peers: no network reaches across providers.

        Errors: `RefusedError`, naming the providers that could.
        """
        self._free = [spec for spec in environment.machines if spec.provider == "auto"]
        machines = [self._settled(spec) for spec in environment.machines]
        on = {spec.name: spec.provider for spec in machines}
        return replace(environment, machines=tuple(_among_its_own(spec, on) for spec in machines))

    def _settled(self, spec: MachineSpec) -> MachineSpec:
        record = self._records.machines.get(spec.name)
        if record is not None and spec.provider in ("auto", record.provider):
            kept = replace(spec, provider=record.provider)
            if specs.summary(kept, self._identity.salt) == record.spec or not self._refusals(
                self._provider(record.provider), kept
            ):
                return kept
        if spec.provider != "auto":
            self._insist(spec)
            return spec
        return replace(spec, provider=self._shared) if self._shared else self._lightest(spec)

    @cached_property
    def _shared(self) -> str:
        """The lightest usable provider that can make every machine on `auto`, so that they find each other; one that
        has some of them comes first. Empty when there is none."""
        records = self._records.machines
        for name in sorted({records[spec.name].provider for spec in self._free if spec.name in records}):
            if self._can_make_all(self._provider(name)):
                return name
        for provider, missing in self._all():
            if provider and not missing and self._can_make_all(provider):
                return provider.name
        return ""

    def _can_make_all(self, provider: Provider) -> bool:
        return not any(self._answer(provider, spec) for spec in self._free)

    def _insist(self, spec: MachineSpec) -> None:
        provider = self._provider(spec.provider)
        reasons = self._refusals(provider, spec)
        if reasons:
            others = [other.name for other in self._able(spec) if other.name != spec.provider]
            raise RefusedError(
                f"machine '{spec.name}': provider {spec.provider} cannot make it as declared",
                details="\n".join(reasons),
                hint=f"these providers can: {', '.join(others)}"
                if others
                else "no other installed provider can either",
            )

    def _lightest(self, spec: MachineSpec) -> MachineSpec:
        reasons: list[str] = []
        for provider, missing in self._all():
            if provider is None:
                reasons += missing
                continue
            refusals = missing or self._answer(provider, spec)
            if not refusals:
                return replace(spec, provider=provider.name)
            reasons += [f"{provider.name}: {reason}" for reason in refusals]
        raise RefusedError(
            f"machine '{spec.name}': no installed provider can make it",
            details="\n".join(reasons),
            hint="`env doctor` says what each provider needs",
        )

    def _able(self, spec: MachineSpec) -> list[Provider]:
        """The usable providers that could make it."""
        return [one for one, missing in self._all() if one and not missing and not self._answer(one, spec)]

    def _answer(self, provider: Provider, spec: MachineSpec) -> Sequence[str]:
        """Why a provider that nobody insists on does not make it; one that cannot be asked does not."""
        try:
            return self._refusals(provider, spec)
        except EnvupError as error:
            return (error.brief,)

    def _refusals(self, provider: Provider, spec: MachineSpec) -> Sequence[str]:
        if spec.isolation and ISOLATION.index(provider.isolation) < ISOLATION.index(spec.isolation):
            return (f"requires isolation {spec.isolation}; {provider.name} gives {provider.isolation}",)
        return tuple(self._check(provider, replace(spec, provider=provider.name)))

    def _all(self) -> Examined:
        yield from self._examined
        self._unexamined = self._unexamined or self._examine()
        for found in self._unexamined:
            self._examined.append(found)
            yield found


def _among_its_own(spec: MachineSpec, on: Mapping[str, str]) -> MachineSpec:
    return replace(spec, peers=tuple(name for name in spec.peers if on[name] == spec.provider))
