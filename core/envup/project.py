"""One environment on this host, as the verbs use it: where it is, what is declared, observed and recorded.

Everything is opened when it is first asked for, so that a verb pays for what it uses.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from envup.entered import Entered
from envup.envfile import NAMES, lock_file
from envup.errors import EnvupError, TransportError, UsageError
from envup.events import Emit, Event, silent
from envup.home import Home
from envup.plugins import Host
from envup.provider import Instance, Provider, ProviderContext
from envup.state import identity as identities
from envup.state.identity import Identity
from envup.state.records import State
from envup.value import Value, replace

if TYPE_CHECKING:
    from envup.images.store import Store
    from envup.locking.holding import Holding
    from envup.model import Environment, MachineSpec
    from envup.observe import Observed
    from envup.state.agreements import Agreements
    from envup.state.records import Records
    from envup.trust import Trust


class Located(Value):
    """A running machine found by name: what carries a command into it. `user` is the default one of its programs."""

    name: str
    provider: Provider
    instance: Instance
    user: str


class Project:
    """An environment by its directory. `file` is None when the Envfile is gone; `identity` has an empty id while
    nothing was ever made here."""

    def __init__(self, directory: Path, file: Path | None, *, emit: Emit = silent, make: bool = False) -> None:
        self.directory, self.file, self.emit = directory, file, emit
        found = identities.ensure(directory) if make else identities.find(directory)
        self.identity = found or Identity("", "", directory)
        self._providers: dict[str, Provider] = {}
        self.locked = False

    @classmethod
    def open(
        cls, file: Path | None = None, *, emit: Emit = silent, start: Path | None = None, make: bool = False
    ) -> Project:
        """The project of `file`, else of `ENVUP_FILE`, else the nearest upwards from `start` (the current directory)
        with an Envfile or, where that is gone, with an identity. Does not read the Envfile.

        Errors: `UsageError` when there is none.
        """
        named = file or (Path(os.environ["ENVUP_FILE"]) if os.environ.get("ENVUP_FILE") else None)
        if named is not None:
            path = named.absolute()
            if not path.is_file() and (make or not (path.parent / identities.FOLDER).is_dir()):
                raise UsageError(f"{named}: no such file", hint="`env new` writes an Envfile")
            return cls(path.parent.resolve(), path if path.is_file() else None, emit=emit, make=make)
        here = (start or Path.cwd()).resolve()
        for directory in (here, *here.parents):
            for name in NAMES:
                if (directory / name).is_file():
                    return cls(directory, directory / name, emit=emit, make=make)
            if not make and (directory / identities.FOLDER / "environment.json").is_file():
                return cls(directory, None, emit=emit)
        raise UsageError(f"there is no Envfile in {here} or above it", hint="`env new` writes one")

    @cached_property
    def home(self) -> Home:
        """This user's directories, made."""
        return Home.locate().make()

    @cached_property
    def plugins(self) -> Host:
        """The plugin host."""
        return Host(self.home)

    @cached_property
    def state(self) -> State:
        """The records of this user."""
        state = State(self.home.data / "state.db")
        if state.set_aside:
            text = (
                f"the record of which steps have run was damaged, and is begun anew; the old one is {state.set_aside}"
            )
            self.emit(Event("warning", text=text))
        return state

    @cached_property
    def images(self) -> Store:
        """The image store of this user."""
        from envup.images.store import Store

        return Store(self.home, self.plugins)

    @cached_property
    def entered(self) -> Entered:
        """In which machines somebody has been."""
        return Entered(self.home.runtime, self.identity.id)

    @property
    def log_directory(self) -> Path:
        """Where the logs of this environment's steps are."""
        return self.home.data / "logs" / self.identity.id

    def environment(self, provider: str | None = None) -> Environment:
        """The Envfile as declared, all machines on `provider` if one is given. Errors: `EnvfileError`, `UsageError`."""
        from envup.envfile.load import load

        if self.file is None:
            raise UsageError(
                f"there is no Envfile in {self.directory}", hint="`env destroy` removes what is left of it"
            )
        return load(self.file, self.plugins, provider=provider)

    def settled(self, records: Records, provider: str | None = None) -> Environment:
        """The same without a machine on `auto`, see `Resolver`. Errors: those of `environment`; `RefusedError`."""
        from envup.resolve import Resolver

        environment = self.environment(provider)

        def check(one: Provider, spec: MachineSpec) -> Sequence[str]:
            return self.check(environment, one, spec)

        return Resolver(self.identity, records, self.provider, self.examine_providers, check).settle(environment)

    def as_locked(self, environment: Environment, *, strict: bool = False, tell: bool = True) -> Environment:
        """`environment` held to the lock file, see `Holding.hold`; as it is where there is none. `tell` what does not
        fit. Errors: those of `Holding.hold`; where `strict`, `UsageError` for what does not fit."""
        assert self.file is not None, "an environment comes from an Envfile"
        if not strict and not self.lock_file.exists():
            return environment
        return self._holding.hold(environment, self.environment() if tell else None, strict=strict)

    @property
    def lock_file(self) -> Path:
        """Where the lock file is, or would be."""
        return lock_file(self.file or self.directory / NAMES[0])

    @cached_property
    def _holding(self) -> Holding:
        from envup.locking.holding import Holding

        return Holding(self.lock_file, self.plugins, lambda event: self.emit(event))

    def check(self, environment: Environment, provider: Provider, spec: MachineSpec) -> Sequence[str]:
        """Why a provider cannot honour a machine of `environment`, see `Provider.check`; nothing where the user has yet
        to agree to its options."""
        if spec.options.get(provider.name) and not self.trust(environment).may_be_checked(spec, provider.name):
            return ()
        return provider.check(spec)

    @property
    def agreements(self) -> Agreements:
        """What the user agreed to for this directory."""
        from envup.state.agreements import Agreements

        return Agreements(self.home.data, self.directory)

    def trust(self, environment: Environment) -> Trust:
        """What `environment`, declared here, needs consent for."""
        from envup.trust import Trust

        return Trust(environment, self.plugins, self.agreements, self.identity.salt)

    def provider(self, name: str) -> Provider:
        """The provider of that name, imported when first asked for. Errors: `EnvupError` naming what is missing."""
        if name not in self._providers:
            data, runtime = self.home.data / "providers" / name, self.home.runtime / name
            for path in (data, runtime):
                path.mkdir(mode=0o711, parents=True, exist_ok=True)
            self._providers[name] = self.plugins.provider(name)(ProviderContext(data, runtime, self.emit))
        return self._providers[name]

    def providers_beside(self, names: Collection[str]) -> list[Provider]:
        """Every other installed provider that loads. One that lacks something may fail in whatever it is asked."""
        found = []
        for name in self.plugins.providers():
            with contextlib.suppress(Exception):  # a stranger's code, that may fail as it likes
                found += [] if name in names else [self.provider(name)]
        return found

    def usable_providers(self) -> list[Provider]:
        """Every installed provider that loads and lacks nothing on this host, lightest isolation first."""
        return [provider for provider, problems in self.examine_providers() if provider and not problems]

    def examine_providers(self) -> Iterator[tuple[Provider | None, tuple[str, ...]]]:
        """Each installed provider, None if it does not load, with what it lacks; the lightest isolation first, and no
        further than the caller asks."""
        for name in self.plugins.providers():
            try:
                provider = self.provider(name)
                yield provider, lacks(provider)
            except EnvupError as error:
                yield None, (f"{name}: {error.brief}",)
            except Exception as error:
                yield None, (f"{name}: {told_as_bug(error)}",)

    def observe(self, environment: Environment | None = None) -> Observed:
        """What the backends say of this environment: those recorded, those that `environment` names, and where neither
        says anything, all. Where nothing was ever made, no backend is asked."""
        from envup.observe import Observed, observe

        if not self.identity.id:
            return Observed({})
        known = self.state.records(self.identity.id)
        records = known.machines
        named = {record.provider for record in records.values()} | set(known.unfinished.values())
        named |= {spec.provider for spec in environment.machines if spec.provider != "auto"} if environment else set()
        providers = [self.provider(name) for name in sorted(named)]
        others = [] if self.state.knows(self.identity.id) else self.providers_beside(named)
        preferred = {name: record.provider for name, record in records.items()}
        observed = observe([*providers, *others], self.identity.id, preferred)
        useless = {one.name for one in others if one.name in observed.silent and lacks(one)}
        silent = {name: error for name, error in observed.silent.items() if name not in useless}
        return replace(observed, silent=silent)

    def lock(self, verb: str, wait: float = 0.0) -> AbstractContextManager[None]:
        """Hold this environment's lock. Errors: `LockedError`."""
        from envup.state.lock import hold

        self.locked = True
        return hold(self._lock_file, verb, wait=wait)

    def at_work(self) -> str:
        """The command of another process that changes this environment now, in words; empty when there is none."""
        from envup.state.lock import holder

        return "" if self.locked else holder(self._lock_file)

    @property
    def _lock_file(self) -> Path:
        return self.home.runtime / "locks" / (self.identity.id or "none")

    def locate(self, machine: str | None) -> Located:
        """The running machine of that name, for who goes in; None means the only one, or `default`. Needs no valid
        Envfile.

        Errors: `UsageError` for an unknown name, `TransportError` when it does not run.
        """
        records = self.state.records(self.identity.id).machines
        if machine in records or (machine is None and records):
            name = self._named(machine, tuple(records))
            provider, user = self.provider(records[name].provider), str(records[name].spec.get("user") or "root")
            found = [instance for instance in provider.observe(self.identity.id) if instance.machine == name]
        else:
            observed = self.observe()
            seen = observed.machines
            for error in () if machine in seen else observed.silent.values():
                raise error
            name = self._named(machine, tuple({**records, **seen}))
            provider, user = self.provider(seen[name].provider), "root"
            found = [seen[name].instance]
        if not found:
            raise TransportError(f"machine '{name}' does not exist", hint=f"`env up {name}` makes it")
        if found[0].state != "running":
            verb, does = ("resume", "wakes") if found[0].state == "suspended" else ("up", "starts")
            brief, hint = f"machine '{name}' is {found[0].state}", f"`env {verb} {name}` {does} it"
            raise TransportError(brief, details=found[0].reason, hint=hint)
        self.entered.note(name)
        return Located(name, provider, found[0], user)

    def _named(self, machine: str | None, known: Sequence[str]) -> str:
        if machine is None:
            if len(known) == 1 or "default" in known:
                return known[0] if len(known) == 1 else "default"
            if known:
                raise UsageError(f"which machine? There are {', '.join(known)}")
        if machine in known:
            return str(machine)
        if not known:
            raise TransportError("no machine of this environment exists", hint="`env up` makes it")
        from difflib import get_close_matches

        close = get_close_matches(str(machine), known, 1)
        hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(known)}"
        raise UsageError(f"there is no machine '{machine}'", hint=hint)


def told_as_bug(error: Exception) -> str:
    """An exception that no plugin may raise, for who only looks whether a provider can be used."""
    return f"its check failed, which is a bug in this plugin: {type(error).__name__}: {error}"


def lacks(provider: Provider) -> tuple[str, ...]:
    """What this provider needs and the host does not have, one line each with the remedy."""
    return tuple(
        f"{check.name}: {check.message}" + (f" ({check.remedy})" if check.remedy else "")
        for check in provider.doctor()
        if not check.ok
    )
