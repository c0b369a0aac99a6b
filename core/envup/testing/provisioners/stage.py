"""What a step of the kit runs on: a machine, as the engine would give it to the provisioner, that remembers."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from envup import facts
from envup.events import Event
from envup.machine import Machine
from envup.model import Environment, MachineSpec, Step
from envup.output import masked
from envup.plugins import Host
from envup.provider import Command, HostCommand, Instance, Provider
from envup.provisioner import Provisioner, StepContext, StepFailed
from envup.testing.provisioners.steps import Steps
from envup.value import replace

VARIABLE = "ENVUP_KIT_SECRET"
"""The variable of every step whose value is a secret. A step that prints it shows that its output is masked."""
SECRET = f"secret-of-the-kit-{os.getpid()}"


class Recorder:
    """A provider that remembers which programs it was to run."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self.commands: list[Command] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)

    def command(self, instance: Instance, command: Command) -> HostCommand:
        """As the provider's."""
        self.commands.append(command)
        return self._provider.command(instance, command)


class Stage:
    """A running machine for steps. `events`, `log` and `commands` are what came of the last step."""

    def __init__(
        self, provider: Provider, instance: Instance, spec: MachineSpec, steps: Steps, host: Host, kind: str
    ) -> None:
        self._provider, self.instance, self._spec = provider, instance, spec
        self._host, self._kind, self._directory = host, kind, steps.directory
        self.events: list[Event] = []
        self.commands: list[Command] = []
        self.log = b""
        for step in steps.prepare:
            self.run(step, host.provisioner(step.kind)())

    def provisioner(self) -> Provisioner:
        """One as the engine makes it for each step."""
        return self._host.provisioner(self._kind)()

    def facts(self, directory: Path) -> Mapping[str, Any]:
        """Those of this machine, in an environment of its own."""
        environment = Environment("kit", directory, directory / "Envfile", (self._spec,))
        return facts.of(environment, {self._spec.name: self.instance}, self._spec.name)

    def run(
        self,
        step: Step,
        provisioner: Provisioner | None = None,
        directory: Path | None = None,
        *,
        interrupted: bool = False,
        known: Mapping[str, Any] | None = None,
    ) -> None:
        """Run a step, its paths relative to `directory`, where None is that of its file, with the facts that are
        `known`, where None are the machine's. Errors: those of the provisioner."""
        directory = directory or self._directory
        provider, log = Recorder(self._provider), io.BytesIO()
        self.events, self.commands = [], provider.commands
        secrets = frozenset({SECRET})
        machine = Machine(
            cast(Provider, provider),
            self.instance,
            self._spec,
            emit=masked(self.events.append, secrets),
            action=f"{self._spec.name}/provision:1",
            log=log,
            redact=secrets,
        )
        if interrupted:
            machine.terminate()
        try:
            (provisioner or self.provisioner()).run(
                secretive(step), machine, StepContext(directory, self.facts(directory) if known is None else known)
            )
        finally:
            self.log = log.getvalue()

    def attempt(self, step: Step) -> None:
        """Run a step that may fail."""
        with contextlib.suppress(StepFailed):
            self.run(step)

    def start(self) -> None:
        """Start the machine, which does not run."""
        self.instance = self._provider.start(self.instance, self._spec)


def secretive(step: Step) -> Step:
    """The step with the kit's secret variable."""
    return replace(step, environment={**step.environment, VARIABLE: SECRET}, secrets=step.secrets | {VARIABLE})
