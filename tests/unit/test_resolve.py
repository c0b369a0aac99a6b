"""Which provider a machine goes to, when some cannot make it, some cannot be used, and some do not answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from factory import environment, machine
from local_provider import LocalProvider

from envup.errors import EnvupError, RefusedError
from envup.events import silent
from envup.model import MachineSpec, Port
from envup.provider import Provider, ProviderContext
from envup.resolve import Resolver
from envup.state.identity import Identity
from envup.state.records import MachineRecord, Records


class Named(LocalProvider):
    """Refuses what `reason` says; does not answer when that is an exception."""

    def __init__(self, name: str, reason: str | Exception = "") -> None:
        super().__init__(ProviderContext(Path("/data"), Path("/runtime"), silent))
        self._reason = reason
        self.name = name  # type: ignore[misc]

    def check(self, spec: MachineSpec) -> Sequence[str]:
        if isinstance(self._reason, Exception):
            raise self._reason
        return (self._reason,) if self._reason else ()


Installed = tuple[Provider, tuple[str, ...]]


def resolver(*installed: Installed) -> Resolver:
    named = {one.name: one for one, _missing in installed}
    identity = Identity("abc", "salt", Path("/shop"))
    return Resolver(identity, Records({}, {}), named.__getitem__, lambda: iter(installed))


def settled(provider: str, *installed: Installed) -> str:
    """The provider that a machine which asks for `provider` is on."""
    return resolver(*installed).settle(environment(machine(provider=provider))).machines[0].provider


SILENT = Named("silent", EnvupError("the engine does not answer"))
POOR = Named("poor", "resources.memory: there is no controller")
GOOD = Named("good")


def test_auto_passes_over_what_refuses_what_lacks_something_and_what_does_not_answer() -> None:
    assert settled("auto", (POOR, ()), (Named("bare"), ("tar: is missing",)), (SILENT, ()), (GOOD, ())) == "good"


def test_a_provider_that_lacks_something_is_not_asked() -> None:
    with pytest.raises(RefusedError) as caught:
        settled("auto", (SILENT, ("engine: it is stopped",)))
    assert caught.value.details == "silent: engine: it is stopped"


def test_a_refusal_names_the_usable_providers_that_could_and_no_other() -> None:
    with pytest.raises(RefusedError) as caught:
        settled("poor", (POOR, ()), (SILENT, ()), (Named("bare"), ("tar: is missing",)), (GOOD, ()))
    assert caught.value.details == "resources.memory: there is no controller"
    assert caught.value.hint == "these providers can: good"


def test_what_nobody_can_make_is_refused_with_every_reason() -> None:
    with pytest.raises(RefusedError) as caught:
        settled("auto", (POOR, ()), (SILENT, ()))
    assert caught.value.details.splitlines() == [
        "poor: resources.memory: there is no controller",
        "silent: the engine does not answer",
    ]


def test_a_provider_that_was_asked_for_and_does_not_answer_is_an_error() -> None:
    with pytest.raises(EnvupError, match="does not answer"):
        settled("silent", (SILENT, ()), (GOOD, ()))


def test_peers_are_the_machines_of_the_same_provider() -> None:
    names = ("web", "db", "cache")
    on = {"web": "good", "db": "auto", "cache": "other"}
    machines = [machine(name, provider=on[name], peers=tuple(each for each in names if each != name)) for name in names]
    found = resolver((GOOD, ()), (Named("other"), ())).settle(environment(*machines)).machines
    assert {spec.name: spec.peers for spec in found} == {"web": ("db",), "db": ("web",), "cache": ()}


def test_machines_on_auto_go_together_where_one_provider_can_make_them_all() -> None:
    class Small(Named):
        def check(self, spec: MachineSpec) -> Sequence[str]:
            return ("ports: it forwards none",) if spec.ports else ()

    machines = [machine("db", provider="auto"), machine("web", provider="auto", ports=(Port(80, 8080),))]
    both = resolver((Small("small"), ()), (GOOD, ())).settle(environment(*machines)).machines
    assert [spec.provider for spec in both] == ["good", "good"]
    apart = resolver((Small("small"), ()), (Picky("picky"), ())).settle(environment(*machines)).machines
    assert [spec.provider for spec in apart] == ["small", "picky"]


class Picky(Named):
    """Makes machines with ports and no others."""

    def check(self, spec: MachineSpec) -> Sequence[str]:
        return () if spec.ports else ("ports: it wants some",)


def test_a_machine_on_auto_joins_those_that_there_are() -> None:
    db, web = machine("db", provider="auto"), machine("web", provider="auto")
    made = {"db": MachineRecord("good", "i-db", {})}
    identity = Identity("abc", "salt", Path("/shop"))
    named = {"good": GOOD, "light": Named("light")}
    settle = Resolver(identity, Records(made, {}), named.__getitem__, lambda: iter([(named["light"], ())])).settle
    assert [spec.provider for spec in settle(environment(db, web)).machines] == ["good", "good"]


def test_reasons_may_come_one_by_one() -> None:
    class Lazy(Named):
        def check(self, spec: MachineSpec) -> Iterator[str]:  # type: ignore[override]
            yield from ()

    assert settled("auto", (Lazy("lazy"), ())) == "lazy"
    assert settled("lazy", (Lazy("lazy"), ())) == "lazy"
