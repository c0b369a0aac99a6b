"""A provider whose one machine is the host itself: commands run as they are, files go through GNU tar."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from envup.errors import EnvupError
from envup.events import Event, silent
from envup.image import Image
from envup.machine import Machine
from envup.model import ImageReference, MachineSpec
from envup.provider import Check, Command, HostCommand, Instance, Provider, ProviderContext


class LocalProvider(Provider):
    """Remembers the commands that it was asked for. `databases` stands in for the machine's /etc."""

    name = "local"
    isolation = "filesystem"
    modes = frozenset({"root", "rootless"})

    def __init__(self, context: ProviderContext, databases: Path | None = None) -> None:
        super().__init__(context)
        self.databases = databases
        self.commands: list[Command] = []
        self.archives: list[bytes] = []

    def doctor(self) -> Sequence[Check]:
        return ()

    def observe(self, environment: str | None) -> Sequence[Instance]:
        return (INSTANCE,)

    def create(self, spec: MachineSpec, image: Image, labels: Mapping[str, str]) -> Instance:
        return INSTANCE

    def start(self, instance: Instance, spec: MachineSpec) -> Instance:
        return INSTANCE

    def stop(self, instance: Instance, *, grace: float = 10.0) -> None:
        return None

    def destroy(self, instance: Instance) -> None:
        return None

    def command(self, instance: Instance, command: Command) -> HostCommand:
        self.commands.append(command)
        argv = ("/bin/sh", "-c", 'cd -- "$0" && exec "$@"', command.workdir or "/", *command.argv)
        return HostCommand(argv, dict(command.environment))

    def send(self, instance: Instance, directory: str, archive: BinaryIO) -> None:
        content = b""
        while chunk := os.read(archive.fileno(), 1 << 16):
            content += chunk
        self.archives.append(content)
        _tar(("--extract", "--same-permissions", "--no-same-owner", "--directory", directory), input=content)

    def fetch(self, instance: Instance, path: str, archive: BinaryIO) -> None:
        whole = Path(path)
        if self.databases is not None and whole.parent == Path("/etc"):
            whole = self.databases / whole.name
        if not os.path.lexists(whole):
            raise EnvupError(f"{path} does not exist in the machine")
        _tar(("--create", "--directory", str(whole.parent), whole.name), stdout=archive)


INSTANCE = Instance("i-local", "running", {"envup.machine": "web"})


def _tar(arguments: Sequence[str], **streams: Any) -> None:
    result = subprocess.run(("tar", *arguments), check=False, stderr=subprocess.PIPE, **streams)
    if result.returncode:
        raise EnvupError("tar failed", details=result.stderr.decode(errors="replace"))


class Bench:
    """A machine to try things on, and what came of them. `output` is what the report was given, `log` the log file."""

    def __init__(self, directory: Path, **changes: Any) -> None:
        self.events: list[Event] = []
        self.log_path = directory / "machine.log"
        self.log_file = self.log_path.open("ab", buffering=0)
        self.databases = directory / "databases"
        self.databases.mkdir()
        (self.databases / "passwd").write_text("root:x:0:0::/root:/bin/sh\napp:x:1234:1235::/home/app:/bin/sh\n")
        (self.databases / "group").write_text("root:x:0:\nweb:x:77:app\n")
        self.provider = LocalProvider(ProviderContext(directory, directory, silent), self.databases)
        spec = MachineSpec("web", ImageReference("host"), provider="local", user=changes.pop("user", "root"))
        self.machine = Machine(
            self.provider, INSTANCE, spec, emit=self.events.append, action="step", log=self.log_file, **changes
        )

    def close(self) -> None:
        self.log_file.close()

    @property
    def output(self) -> str:
        return "".join(event.text for event in self.events if event.kind == "output")

    @property
    def log(self) -> bytes:
        return self.log_path.read_bytes()

    def texts(self, kind: str) -> list[str]:
        return [event.text for event in self.events if event.kind == kind]
