"""A provider for tests of the command line: its machines are files, and their programs run on the host as they are."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import pluggy

from envup.errors import EnvupError
from envup.image import Image
from envup.provider import (
    Check,
    Command,
    Console,
    HostCommand,
    Instance,
    MachineSpec,
    Provider,
    Snapshot,
    Snapshots,
    Suspend,
)


class Pretend(Provider, Suspend, Snapshots, Console):
    """Keeps each machine's labels and state in a file of its data directory, its variables in another, and the names of
    its snapshots in a directory."""

    name = "pretend"
    isolation = "container"
    modes = frozenset({"root", "rootless"})

    def doctor(self) -> Sequence[Check]:
        ok = not (self.context.data / "unusable").exists()
        tea = ("there is none", "boil water") if (self.context.data / "thirsty").exists() else ()
        return (
            Check("a good mood", ok, "" if ok else "it is gone", "" if ok else "wait for it"),
            Check("a tea", True, *tea),
        )

    def check(self, spec: MachineSpec) -> Sequence[str]:
        return ("mounts: the source is gone",) if (self.context.data / "refuses").exists() else ()

    def observe(self, environment: str | None) -> Sequence[Instance]:
        if (self.context.data / "silent").exists():
            raise EnvupError("the shelf does not answer", hint="knock louder")
        found = [self._read(path) for path in sorted(self.context.data.glob("*.json"))]
        return [one for one in found if environment in (None, one.labels["envup.environment"])]

    def create(self, spec: MachineSpec, image: Image, labels: Mapping[str, str]) -> Instance:
        if spec.hostname == "bug":
            raise KeyError("nobody thought of this")
        if spec.hostname == "refused":
            raise EnvupError("there is no room", details="the shelf is full", hint="make room")
        return self._write(Instance(secrets.token_hex(4), "created", dict(labels)))

    def start(self, instance: Instance, spec: MachineSpec) -> Instance:
        self._variables(instance).write_text(json.dumps(dict(spec.environment)))
        return self._write(Instance(instance.id, "running", instance.labels))

    def stop(self, instance: Instance, *, grace: float = 10.0) -> None:
        self._write(Instance(instance.id, "stopped", instance.labels))

    def destroy(self, instance: Instance) -> None:
        self._path(instance).unlink(missing_ok=True)
        self._variables(instance).unlink(missing_ok=True)
        shutil.rmtree(self._kept(instance), ignore_errors=True)

    def command(self, instance: Instance, command: Command) -> HostCommand:
        if command.user == "nobody-there":
            return HostCommand(("/no/such/way/in",))
        own = json.loads(self._variables(instance).read_text())
        return HostCommand(command.argv or ("/bin/sh",), {**own, **command.environment})

    def send(self, instance: Instance, directory: str, archive: BinaryIO) -> None:
        subprocess.run(["tar", "--extract", "--directory", directory], stdin=archive, check=True)

    def fetch(self, instance: Instance, path: str, archive: BinaryIO) -> None:
        parent, name = Path(path).parent, Path(path).name
        subprocess.run(["tar", "--create", "--directory", parent, "--", name], stdout=archive, check=True)

    def suspend(self, instance: Instance) -> None:
        self._write(Instance(instance.id, "suspended", instance.labels))

    def resume(self, instance: Instance) -> None:
        self._write(Instance(instance.id, "running", instance.labels))

    def console(self, instance: Instance, *, follow: bool = False) -> HostCommand:
        line = f"echo {instance.machine} booted" + "; exec sleep 1000" * follow
        return HostCommand(("sh", "-c", line))

    def snapshots(self, instance: Instance) -> Sequence[Snapshot]:
        return [Snapshot(path.name, path.stat().st_mtime) for path in sorted(self._kept(instance).glob("*"))]

    def require_snapshots(self, instance: Instance) -> None:
        if (self.context.data / f"fleeting-{instance.machine}").exists():
            raise EnvupError(f"machine '{instance.machine}' keeps nothing", hint="give it a shelf")

    def take_snapshot(self, instance: Instance, name: str) -> Snapshot:
        if (self.context.data / f"full-{instance.machine}").exists():
            raise EnvupError("the shelf is full")
        self._kept(instance).mkdir(exist_ok=True)
        (self._kept(instance) / name).touch()
        return Snapshot(name, 0.0)

    def restore_snapshot(self, instance: Instance, name: str) -> Instance:
        stopped = self._write(Instance(instance.id, "stopped", instance.labels))
        if (self.context.data / "deadly").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return stopped

    def copy_snapshot(self, source: Instance, name: str, spec: MachineSpec, labels: Mapping[str, str]) -> Instance:
        return self._write(Instance(secrets.token_hex(4), "created", dict(labels)))

    def delete_snapshot(self, instance: Instance, name: str) -> None:
        (self._kept(instance) / name).unlink(missing_ok=True)

    def _kept(self, instance: Instance) -> Path:
        return self._path(instance).with_suffix(".snapshots")

    def _path(self, instance: Instance) -> Path:
        return self.context.data / f"{instance.labels['envup.environment']}-{instance.machine}.json"

    def _variables(self, instance: Instance) -> Path:
        return self._path(instance).with_suffix(".variables")

    def _write(self, instance: Instance) -> Instance:
        document = {"id": instance.id, "state": instance.state, "labels": dict(instance.labels)}
        path = self._path(instance)
        path.with_suffix(".new").write_text(json.dumps(document))
        path.with_suffix(".new").replace(path)
        return instance

    def _read(self, path: Path) -> Instance:
        document = json.loads(path.read_text())
        return Instance(document["id"], document["state"], document["labels"])


@pluggy.HookimplMarker("envup")
def envup_provider() -> type[Provider]:
    """The provider."""
    return Pretend
