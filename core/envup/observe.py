"""What the backends say there is: one bulk question to each provider in use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from envup.errors import EnvupError
from envup.provider import Instance, Provider
from envup.value import NOTHING, Value


class Seen(Value):
    """An instance and the name of the provider that reported it."""

    provider: str
    instance: Instance


class Observed(Value):
    """The instances of one environment by machine. `strays` are further instances of a machine, left by another
    provider when a move between providers was cut short. `silent` has the providers that did not answer, each with its
    error: what they have is not known, and never taken for absent."""

    machines: Mapping[str, Seen]
    strays: tuple[Seen, ...] = ()
    silent: Mapping[str, EnvupError] = NOTHING


def observe(providers: Sequence[Provider], environment: str, preferred: Mapping[str, str]) -> Observed:
    """Ask each provider once, all at the same time when there are several. Of two instances of one machine the one on
    its `preferred` provider counts."""
    machines: dict[str, Seen] = {}
    strays: list[Seen] = []
    silent: dict[str, EnvupError] = {}
    for provider, answer in zip(providers, _answers(providers, environment), strict=True):
        if isinstance(answer, EnvupError):
            silent[provider.name] = answer
            continue
        for instance in answer:
            seen, other = Seen(provider.name, instance), machines.get(instance.machine)
            if other is not None and preferred.get(instance.machine) != seen.provider:
                strays.append(seen)
                continue
            if other is not None:
                strays.append(other)
            machines[instance.machine] = seen
    return Observed(machines, tuple(strays), silent)


def _answers(providers: Sequence[Provider], environment: str) -> Sequence[Sequence[Instance] | EnvupError]:
    if len(providers) < 2:
        return [_answer(provider, environment) for provider in providers]
    from functools import partial

    from envup.tasks import Task

    tasks = [Task(partial(_answer, provider, environment)) for provider in providers]
    return [task.result() for task in tasks]


def _answer(provider: Provider, environment: str) -> Sequence[Instance] | EnvupError:
    try:
        return provider.observe(environment)
    except EnvupError as error:
        return error
    except Exception as error:
        brief = f"provider {provider.name} cannot be asked, which is a bug in it: {type(error).__name__}: {error}"
        bug = EnvupError(brief)
        bug.__cause__ = error
        return bug
