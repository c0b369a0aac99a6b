"""What the behaviours work with: the provider under test, and short ways to use it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from envup.events import Event
from envup.image import Image
from envup.model import ImageReference
from envup.provider import Command, Instance, MachineSpec, Provider, ProviderContext

ENVIRONMENT = f"t{os.getpid()}"
"""The environment that machines are in where a case does not say another; no other run has it."""

PATIENCE = 60
"""Seconds after which a program of a test is given up."""


def mode() -> str:
    """The mode that this run tests."""
    return "root" if os.geteuid() == 0 else "rootless"


class Subject:
    """A provider with a data directory and an image, and short ways to use it. `options` is its own key in every
    machine."""

    def __init__(self, kind: type[Provider], base: Path, image: Image, options: Mapping[str, Any]) -> None:
        self.name = kind.name
        self._options = options
        self.events: list[Event] = []
        self.base = base
        self.image = image
        self._kind = kind
        for name in ("data", "runtime"):
            (base / name).mkdir(exist_ok=True, mode=0o711)
        self.provider: Any = self.again()

    def again(self) -> Provider:
        """The same provider as another command would see it."""
        return self._kind(ProviderContext(self.base / "data", self.base / "runtime", self.events.append))

    def spec(self, name: str = "web", **fields: Any) -> MachineSpec:
        """A machine named `name`."""
        options = {self.name: {**self._options, **fields.pop("options", {})}}
        fields.setdefault("hostname", name)
        return MachineSpec(name=name, image=ImageReference("tarball"), provider=self.name, options=options, **fields)

    def needs(self, ability: type) -> None:
        """Leave the case out where the provider does not have an ability."""
        if not isinstance(self.provider, ability):
            self.leave_out(f"the ability {ability.__name__}")

    def needs_shared_kernel(self) -> None:
        """Leave the case out where a machine has a kernel of its own: its processes are none of the host's, and what it
        does to its kernel is done to no other."""
        if self.has_own_kernel:
            self.leave_out("a kernel that machine and host share")

    @property
    def has_own_kernel(self) -> bool:
        """Whether a machine's processes are none of the host's."""
        return self._kind.isolation == "machine"

    def accepts(self, spec: MachineSpec, *keys: str) -> None:
        """Leave the case out where the provider refuses the machine for one of these keys, naming it."""
        reasons = self.provider.check(spec)
        for key in keys:
            for reason in reasons:
                if key in reason:
                    self.leave_out(reason)
        assert not reasons

    def leave_out(self, reason: str) -> None:
        """End the case because of something that the provider lacks; the summary tells it."""
        pytest.skip(f"{self.name} lacks {reason}")

    def labels(self, name: str, environment: str = ENVIRONMENT, image: Image | None = None) -> Mapping[str, str]:
        """Labels as the engine gives them."""
        return {
            "envup.environment": environment,
            "envup.machine": name,
            "envup.project": "/project",
            "envup.spec": "0",
            "envup.image": (image or self.image).digest,
            "envup.variables": "{}",
            "envup.format": "1",
        }

    def create(self, spec: MachineSpec, environment: str = ENVIRONMENT, image: Image | None = None) -> Instance:
        """Make an instance."""
        made: Instance = self.provider.create(spec, image or self.image, self.labels(spec.name, environment, image))
        return made

    @contextlib.contextmanager
    def running(
        self, spec: MachineSpec, environment: str = ENVIRONMENT, image: Image | None = None
    ) -> Iterator[Instance]:
        """A running machine that is destroyed afterwards."""
        instance = self.create(spec, environment, image)
        try:
            yield self.provider.start(instance, spec)
        finally:
            self.provider.destroy(instance)

    def state(self, name: str = "web", environment: str = ENVIRONMENT) -> str:
        """The state of a machine as `observe` tells it."""
        found = [one for one in self.again().observe(environment) if one.machine == name]
        assert len(found) < 2, "a machine is reported twice"
        return found[0].state if found else "absent"

    def observed(self, environment: str = ENVIRONMENT) -> Sequence[Instance]:
        """Every machine of an environment, as another command would see them."""
        return self.again().observe(environment)

    def await_state(self, state: str, name: str = "web") -> None:
        """Ask until the machine is in a state."""
        deadline = time.monotonic() + PATIENCE
        while self.state(name) != state:
            assert time.monotonic() < deadline, f"still {self.state(name)}"

    def popen(
        self, instance: Instance, *argv: str | bytes, streams: Mapping[str, Any] | None = None, **fields: Any
    ) -> Any:
        """Start a program in a machine, its streams as `subprocess.Popen` takes them."""
        command = Command(tuple(os.fsdecode(part) for part in argv), **fields)
        host = self.provider.command(instance, command)
        return subprocess.Popen(host.argv, env={**os.environ, **host.environment}, **(streams or {}))

    def run(self, instance: Instance, *argv: str | bytes, data: bytes | None = None, **fields: Any) -> Any:
        """Run a program to its end: `returncode`, `stdout`, `stderr` as bytes."""
        streams = {
            "stdin": subprocess.PIPE if data is not None else subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }
        with self.popen(instance, *argv, streams=streams, **fields) as process:
            output, errors = process.communicate(data, timeout=PATIENCE)
        return subprocess.CompletedProcess(argv, process.returncode, output, errors)

    def shell(self, instance: Instance, script: str, **fields: Any) -> str:
        """What a shell script prints; it must succeed."""
        done = self.run(instance, "sh", "-euc", script, **fields)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        text: str = done.stdout.decode()
        return text.rstrip("\n")
