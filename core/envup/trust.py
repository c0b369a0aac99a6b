"""What an Envfile asks for that reaches beyond its machines with the user's own rights, and whether the user agreed.

That is a path outside the project which is mounted, an option of a provider whose schema says `x-consent`, an image and
a step whose plugins run something on the host.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from envup import content
from envup import spec as specs
from envup.errors import EnvupError
from envup.model import Environment, HostCode, MachineSpec, Step
from envup.plan import Action
from envup.plugins import Host
from envup.provisioner import StepContext
from envup.state.agreements import Agreements
from envup.value import Value

KINDS = ("mount", "option", "image", "step")


class Demand(Value):
    """One thing that needs the user's consent, of one of `KINDS`. `text` says it in a line; `digest` stands for it, for
    its machine and for the content of the files that decide what it does."""

    kind: str
    machine: str
    text: str
    digest: str

    def __str__(self) -> str:
        return f"{self.machine}: {self.text}"

    def as_json(self) -> dict[str, Any]:
        """The documented fields."""
        return {name: getattr(self, name) for name in ("kind", "machine", "text", "digest")}


class Trust:
    """What one Envfile asks for, compared with what the user agreed to. `salt` keys the digests of values from outside
    the Envfile. Errors of all that looks for demands: `EnvupError`, for a file that is missing or cannot be read."""

    def __init__(self, environment: Environment, plugins: Host, agreements: Agreements, salt: str) -> None:
        self._environment, self._plugins = environment, plugins
        self._agreements, self._salt = agreements, salt
        self._root = os.path.realpath(environment.directory)

    def everything(self) -> tuple[Demand, ...]:
        """All that the Envfile asks for, whatever a command would carry out of it."""
        return _once(demand for spec in self._environment.machines for demand in self._of_machine(spec))

    def of(self, actions: Iterable[Action]) -> tuple[Demand, ...]:
        """What these actions carry out."""
        return _once(demand for action in actions for demand in self._of_action(action))

    def pending(self, demands: Iterable[Demand]) -> tuple[Demand, ...]:
        """Those that the user did not agree to."""
        return tuple(demand for demand in demands if not self._agreements.has(demand.digest))

    def agree(self, demands: Iterable[Demand]) -> None:
        """Keep that the user agreed to these."""
        self._agreements.add(demand.digest for demand in demands)

    def require(self, action: Action) -> None:
        """Errors: `EnvupError` where the action carries out what the user did not agree to."""
        if pending := self.pending(self.of([action])):
            brief = "not carried out, as you did not agree to it, or it has changed since"
            raise EnvupError(brief, details="\n".join(map(str, pending)), hint="`env up` asks for it")

    def may_be_checked(self, spec: MachineSpec, provider: str) -> bool:
        """Whether a provider may be asked if it can honour a declaration: what its options name could be reached or run
        for the answer, so not before the user agreed to them."""
        return not self.pending(self._options(spec, provider))

    def image(self, spec: MachineSpec) -> Iterator[Demand]:
        """What getting the image of a machine runs on the host."""
        from envup.images.sources import SOURCES

        source, options = spec.image.source, spec.image.options
        if source in SOURCES or source in self._plugins.names("image_source"):
            code = self._plugins.image_source(source)().host_code(options)
            if code is not None:
                kept = specs.kept(dict(options), spec.image.secrets, self._salt)
                yield self._host_code("image", spec, code.what, code, source, kept)

    def _of_machine(self, spec: MachineSpec) -> Iterator[Demand]:
        yield from self.image(spec)
        providers = self._plugins.providers() if spec.provider == "auto" else (spec.provider,)
        for provider in providers:
            yield from self._reach(spec, provider)
        for step in spec.steps:
            yield from self._step(spec, step)

    def _of_action(self, action: Action) -> Iterator[Demand]:
        spec = self._environment.machine(action.machine)
        if spec is None:
            return
        if action.verb == "image":
            yield from self.image(spec)
        elif action.verb in ("create", "start", "update", "snapshot", "restore"):
            yield from self._reach(spec, action.provider)
        elif action.verb == "provision":
            yield from self._step(spec, spec.steps[action.step])

    def _reach(self, spec: MachineSpec, provider: str) -> Iterator[Demand]:
        """What of the host a machine is given."""
        for mount in spec.mounts:
            real = os.path.realpath(mount.source)
            if not Path(real).is_relative_to(self._root):
                led = "" if real == str(mount.source) else f", which is {real},"
                text = f"mounts {mount.source}{led} at {mount.target}, {'read-only' if mount.read_only else 'writable'}"
                yield self._demand("mount", spec, text, real, mount.target, mount.read_only)
        yield from self._options(spec, provider)

    def _options(self, spec: MachineSpec, provider: str) -> Iterator[Demand]:
        given = spec.options.get(provider, {})
        secrets = [place[1:] for place in spec.secret_options if place[0] == provider]
        kept = specs.kept(dict(given), secrets, self._salt)
        properties = self._plugins.info("provider", provider).manifest.get("properties", {})
        for key, value in given.items():
            section = properties.get(key, {})
            if "x-consent" in section and value and _is_meant(section, value):
                text = f"{provider}.{key}: {specs.shown(kept[key])} ({section['x-consent']})"
                yield self._demand("option", spec, text, provider, key, kept[key])

    def _step(self, spec: MachineSpec, step: Step) -> Iterator[Demand]:
        code = self._plugins.provisioner(step.kind)().host_code(step, StepContext(self._environment.directory))
        if code is not None:
            text = f"step '{step.name}' {code.what}"
            yield self._host_code("step", spec, text, code, specs.definition(step, self._salt))

    def _host_code(self, kind: str, spec: MachineSpec, text: str, code: HostCode, *about: Any) -> Demand:
        return self._demand(kind, spec, text, code.what, content.content(code.reads), *about)

    def _demand(self, kind: str, spec: MachineSpec, text: str, *about: Any) -> Demand:
        return Demand(kind, spec.name, text, specs.digest([kind, spec.name, *about]))


def _once(demands: Iterable[Demand]) -> tuple[Demand, ...]:
    return tuple({demand.digest: demand for demand in demands}.values())


def _is_meant(section: Mapping[str, Any], value: Any) -> bool:
    """Whether the value is one of those that need consent."""
    if "x-consent-when" not in section:
        return True
    from jsonschema import Draft202012Validator

    return bool(Draft202012Validator(section["x-consent-when"]).is_valid(value))
