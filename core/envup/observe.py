"""What the backends say there is: one bulk question to each provider in use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from envup.provider import Instance, Provider
from envup.value import Value


class Seen(Value):
    """An instance and the name of the provider that reported it."""

    provider: str
    instance: Instance


class Observed(Value):
    """The instances of one environment by machine. `strays` are further instances of a machine, left by another
    provider when a move between providers was cut short."""

    machines: Mapping[str, Seen]
    strays: tuple[Seen, ...] = ()


def observe(providers: Sequence[Provider], environment: str, preferred: Mapping[str, str]) -> Observed:
    """Ask each provider once, all at the same time when there are several. Of two instances of one machine the one on
    its `preferred` provider counts. Errors: those of the providers; what does not answer is never taken for absent."""
    machines: dict[str, Seen] = {}
    strays: list[Seen] = []
    for provider, instances in zip(providers, _ask(providers, environment), strict=True):
        for instance in instances:
            seen, other = Seen(provider.name, instance), machines.get(instance.machine)
            if other is not None and preferred.get(instance.machine) != seen.provider:
                strays.append(seen)
                continue
            if other is not None:
                strays.append(other)
            machines[instance.machine] = seen
    return Observed(machines, tuple(strays))


def _ask(providers: Sequence[Provider], environment: str) -> Sequence[Sequence[Instance]]:
    if len(providers) < 2:
        return [provider.observe(environment) for provider in providers]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(providers)) as pool:
        return list(pool.map(lambda provider: provider.observe(environment), providers))
