"""What providers share whose machines are directories of copy-on-write layers over unpacked images, with their
processes in namespaces of this host: all of `Provider` but what sets one such provider apart from another."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from envup import namespaces
from envup.errors import EnvupError, TransportError
from envup.image import Image
from envup.namespaces import directories, records
from envup.namespaces.directories import Directories
from envup.provider import Command, HostCommand, ImageForms, Instance, MachineSpec, Port, Provider, ProviderContext

if TYPE_CHECKING:
    from envup.namespaces.trees import Trees


class NamespaceProvider(Provider, ImageForms):
    """A provider that keeps its machines as `directories` and their images as `trees` describe. To be written beside
    `doctor` and `check`: `fill`, `launch`, `end` and `way`."""

    facts: ClassVar[frozenset[str]] = frozenset()
    """Names of what `fill` returns."""

    def __init__(self, context: ProviderContext) -> None:
        super().__init__(context)
        self.machines = Directories(context.data, self.look, self.facts)
        self.rootless = os.geteuid() != 0

    @abstractmethod
    def fill(self, directory: Path, tree: Path, spec: MachineSpec, image: Image) -> Mapping[str, Any]:
        """Put into the new directory of a machine what it needs; the facts to keep of it. Cut short, it is removed.
        Errors: `EnvupError`, `OSError`."""

    @abstractmethod
    def launch(self, directory: Path, lock: int, tree: Path, facts: Mapping[str, Any], spec: MachineSpec) -> None:
        """Start a machine that does not run, and return when a program can run in it and `records.write_run` has said
        so. What it starts must be found from the record at every moment. `lock` is the descriptor of the directory's
        lock, for a helper that is to keep it should this process die. Errors: `EnvupError`; `end` is called then."""

    @abstractmethod
    def end(self, directory: Path, run: Mapping[str, Any] | None, grace: float) -> None:
        """End what runs of a machine, asked first and killed after `grace` seconds, and remove what it has outside its
        directory, also what a crash has left there. `run` is its last record, of a process that may be gone, or of an
        earlier boot. Does nothing the second time."""

    @abstractmethod
    def way(self, run: Mapping[str, Any]) -> namespaces.Way:
        """The way into a machine that runs, by its record."""

    def current(self, run: Mapping[str, Any], boot: str) -> Mapping[str, Any] | None:
        """The record of a machine as it is now, ready or not; None when the machine does not run. To be overridden
        where its PID 1 may be another than was recorded."""
        return run if records.is_alive(run, boot) else None

    def leave(self, instance: Instance) -> None:
        """Give up what a machine shares with others of its environment. Called by `destroy` when it has ended, before
        it is removed, and again where that was cut short. Most share nothing."""

    def look(self, _directory: str, facts: Mapping[str, Any], run: Mapping[str, Any] | None, boot: str) -> Instance:
        """The machine as it is, see `directories.Look`; its ports are the `ports` of its record, each with the fields
        of a `Port`."""
        if run is None:
            return Instance(facts["id"], "created", facts["labels"])
        now = self.current(run, boot)
        if now is None or not now["ready"]:
            return Instance(facts["id"], "stopped", facts["labels"])
        ports = tuple(Port(*fields) for fields in run["ports"])
        return Instance(facts["id"], "running", facts["labels"], ports=ports)

    def group(self, directory: Path) -> str:
        """The name of the control groups of the machine in a directory."""
        return f"{self.name}-{directory.name}"

    def recorded(self, directory: Path) -> Mapping[str, Any] | None:
        """The record of the machine in a directory, ready or not; None when it does not run."""
        run = directories.read(f"{directory}/{records.FILE}")
        return None if run is None else self.current(run, records.boot())

    def running(self, instance: Instance) -> Mapping[str, Any]:
        """The record of a running machine. Errors: `TransportError`."""
        run = self.recorded(self.machines.directory(instance.labels))
        if run is None or not run["ready"]:
            raise TransportError(f"machine '{instance.machine}' is not running", hint="run: env up")
        return run

    def entrance(self, instance: Instance) -> namespaces.Way:
        """The way into a machine for programs and files. Errors: `TransportError` when it does not run."""
        return self.way(self.running(instance))

    def observe(self, environment: str | None) -> Sequence[Instance]:
        """See `Provider`."""
        return self.machines.observe(environment)

    def create(self, spec: MachineSpec, image: Image, labels: Mapping[str, str]) -> Instance:
        """See `Provider`."""
        directory = self.machines.directory(labels)
        common = {"labels": dict(labels), "image": image.digest}
        with directories.told("make", directory), self.trees().use(image) as tree:
            directories.make(directory, lambda: {**common, **self.fill(directory, tree, spec, image)})
        return self.machines.present(labels)

    def start(self, instance: Instance, spec: MachineSpec) -> Instance:
        """See `Provider`."""
        directory = self.machines.directory(instance.labels)
        with directories.told("start", directory), directories.held(directory) as lock:
            facts = self.machines.facts(directory)
            run = self.recorded(directory)
            if run is None or not run["ready"]:
                self._launch(directory, lock, facts, spec)
        return self.machines.present(instance.labels)

    def _launch(self, directory: Path, lock: int, facts: Mapping[str, Any], spec: MachineSpec) -> None:
        tree = self.trees().path(facts["image"])
        if not tree.is_dir():
            raise EnvupError(f"the image of machine '{spec.name}' is gone: {tree}", hint="destroy the machine")
        self._end(directory, 0)
        try:
            self.launch(directory, lock, tree, facts, spec)
        except BaseException:
            self._end(directory, 0)
            raise

    def stop(self, instance: Instance, *, grace: float = 10.0) -> None:
        """See `Provider`."""
        directory = self.machines.directory(instance.labels)
        if directory.is_dir():
            with directories.told("stop", directory), directories.locked(directory):
                self._end(directory, grace)

    def destroy(self, instance: Instance) -> None:
        """See `Provider`."""
        directory = self.machines.directory(instance.labels)
        with directories.told("destroy", directory):
            self.trees().sweep()
            if directory.is_dir():
                with directories.locked(directory):
                    self._end(directory, 0)
                    self.leave(instance)
                    directories.unmake(directory)

    def _end(self, directory: Path, grace: float) -> None:
        self.end(directory, directories.read(f"{directory}/{records.FILE}"), grace)

    def command(self, instance: Instance, command: Command) -> HostCommand:
        """See `Provider`."""
        return namespaces.enter(self.entrance(instance), command)

    def send(self, instance: Instance, directory: str, archive: BinaryIO) -> None:
        """See `Provider`."""
        way = self.entrance(instance)
        namespaces.send(way, directory, archive, machine=instance.machine, emit=self.context.emit)

    def fetch(self, instance: Instance, path: str, archive: BinaryIO) -> None:
        """See `Provider`."""
        way = self.entrance(instance)
        namespaces.fetch(way, path, archive, machine=instance.machine, emit=self.context.emit)

    def forms(self) -> Sequence[tuple[str, int]]:
        """See `ImageForms`."""
        return self.trees().forms()

    def remove_form(self, digest: str) -> None:
        """See `ImageForms`."""
        with self.trees().removing(digest):
            if user := self.machines.uses(digest):
                raise EnvupError(f"the image {digest} is in use by {user}", hint="destroy that machine first")

    def trees(self) -> Trees:
        """The unpacked images."""
        from envup.namespaces.trees import Trees

        return Trees(self.context.data)
