"""What the conformance cases work with. A provider takes part by one entry in `CANDIDATES`."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from envup.events import Event
from envup.image import Image
from envup.model import ImageReference
from envup.provider import Command, Instance, MachineSpec, Provider, ProviderContext

ENVIRONMENT = f"t{os.getpid()}"
"""The environment that machines are in where a case does not say another; no other run has it."""

PATIENCE = 60
"""Seconds after which a program of a test is given up."""


class Candidate:
    """A provider under test. `load` imports its class; `lacks` names what the backend cannot do here and why: `mounts`,
    `limits:memory`, `limits:cpu`, `limits:pids`. A case about something that is lacked checks that it is refused."""

    def __init__(self, name: str, load: Callable[[], type[Provider]], lacks: Callable[[], set[str]]) -> None:
        self.name = name
        self.load = load
        self.lacks = lacks


def _chroot() -> type[Provider]:
    from envup_chroot.provider import ChrootProvider

    return ChrootProvider


def _chroot_lacks() -> set[str]:
    from envup.namespaces import cgroups

    known = cgroups.places(rootless=os.geteuid() != 0)
    return {f"limits:{controller}" for controller in ("cpu", "memory", "pids") if controller not in known}


CANDIDATES = [Candidate("chroot", _chroot, _chroot_lacks)]


class Subject:
    """A provider with a data directory and an image, and short ways to use it."""

    def __init__(self, candidate: Candidate, base: Path, image: Image) -> None:
        self.name = candidate.name
        self.lacks = candidate.lacks()
        self.events: list[Event] = []
        self.base = base
        self.image = image
        self._kind = candidate.load()
        for name in ("data", "runtime"):
            (base / name).mkdir(exist_ok=True, mode=0o711)
        self.provider: Any = self.again()

    def again(self) -> Provider:
        """The same provider as another command would see it."""
        return self._kind(ProviderContext(self.base / "data", self.base / "runtime", self.events.append))

    def spec(self, name: str = "web", **fields: Any) -> MachineSpec:
        """A machine named `name`."""
        return MachineSpec(name=name, image=ImageReference("tarball"), provider=self.name, **fields)

    def labels(self, name: str, environment: str = ENVIRONMENT) -> Mapping[str, str]:
        """Labels as the engine gives them."""
        return {
            "envup.environment": environment,
            "envup.machine": name,
            "envup.project": "/project",
            "envup.spec": "0",
            "envup.image": self.image.digest,
            "envup.format": "1",
        }

    def create(self, spec: MachineSpec, environment: str = ENVIRONMENT, image: Image | None = None) -> Instance:
        """Make an instance."""
        made: Instance = self.provider.create(spec, image or self.image, self.labels(spec.name, environment))
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


def processes_with(mark: str) -> list[str]:
    """Command lines of the host's processes that have `mark` in it or in their environment."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                line, variables = (Path(f"/proc/{name}/{file}").read_bytes() for file in ("cmdline", "environ"))
                if mark.encode() in line + variables:
                    found.append(line.replace(b"\0", b" ").decode(errors="replace"))
    return found
