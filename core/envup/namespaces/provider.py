"""What providers share whose machines are directories of copy-on-write layers over unpacked images, with their
processes in namespaces of this host: all of `Provider` but what sets one such provider apart from another."""

from __future__ import annotations

import contextlib
import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from envup import namespaces
from envup.errors import EnvupError, TransportError
from envup.image import Image
from envup.namespaces import directories, records
from envup.namespaces.directories import Directories
from envup.provider import (
    Command,
    Export,
    HostCommand,
    ImageForms,
    Instance,
    Layer,
    Layers,
    MachineSpec,
    Pause,
    Port,
    Provider,
    ProviderContext,
    Snapshot,
    Snapshots,
)

if TYPE_CHECKING:
    from envup.namespaces.layers import LayerStore
    from envup.namespaces.trees import Trees


class NamespaceProvider(Provider, Export, ImageForms, Layers, Pause, Snapshots):
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
        """Put into the new directory of a machine what it needs; the facts to keep of it. `tree` is what it begins
        with, or the uppermost layer of that. Cut short, it is removed. Errors: `EnvupError`, `OSError`."""

    @abstractmethod
    def launch(
        self, directory: Path, lock: int, trees: Sequence[Path], facts: Mapping[str, Any], spec: MachineSpec
    ) -> None:
        """Start a machine that does not run, and return when a program can run in it and `records.write_run` has said
        so. `trees` are its layers, the uppermost first, and its image at the end. What it starts must be found from the
        record at every moment. `lock` is the descriptor of the directory's lock, for a helper that is to keep it should
        this process die. Errors: `EnvupError`; `end` is called then."""

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
        from envup.namespaces import layers

        directory = self.machines.directory(labels)
        with (
            directories.told("make", directory),
            self.trees().use(image) as tree,
            self.layer_store().using(image.layer) as keys,
        ):
            common = {"labels": dict(labels), "image": image.digest, "layers": keys}
            first = next(iter(layers.stack(self.context.data, keys)), tree)
            directories.make(directory, lambda: {**common, **self.fill(directory, first, spec, image)})
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
        from envup.namespaces import layers, snapshots

        tree = self.trees().path(facts["image"])
        if not tree.is_dir():
            raise EnvupError(f"the image of machine '{spec.name}' is gone: {tree}", hint="destroy the machine")
        snapshots.finish(directory)
        trees = [*layers.stack(self.context.data, facts.get("layers", ())), tree]
        self._end(directory, 0)
        try:
            self.launch(directory, lock, trees, facts, spec)
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
            self.layer_store().sweep()
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

    def layers(self) -> Sequence[Layer]:
        """See `Layers`."""
        return self.layer_store().all()

    def keeps_layers(self, spec: MachineSpec) -> bool:
        """See `Layers`. Not where what is written lies on a file system that only the machine sees."""
        return spec.resources.disk is None and spec.image.source != "host"

    def keep_layer(self, instance: Instance, key: str, note: Mapping[str, Any]) -> None:
        """See `Layers`."""
        from envup.namespaces.keeping import Keeper

        directory = self.machines.directory(instance.labels)
        with directories.told("keep", directory), directories.held(directory):
            facts = self.machines.facts(directory)
            if not (directory / "upper").is_dir():
                raise EnvupError(f"machine '{instance.machine}' has no layers on this file system")
            lower, image = facts.get("layers", ()), self.trees().path(facts["image"])
            still, first = partial(self._standing_still, directory), self._first(directory)
            keeper = Keeper(self.layer_store(), directory / "upper", lower, image, facts["id"], still, first)
            keeper.keep(key, note)

    def export(self, instance: Instance, file: BinaryIO) -> None:
        """See `Export`."""
        from envup.namespaces import exporting, layers, snapshots

        directory = self.machines.directory(instance.labels)
        with directories.told("pack", directory), directories.held(directory):
            facts = self.machines.facts(directory)
            tree = self.trees().path(facts["image"])
            if tree == Path("/"):
                brief = f"machine '{instance.machine}' is a view of this very system, which no image is made of"
                raise EnvupError(brief, hint="declare another image than `host`")
            lowers = [*layers.stack(self.context.data, facts.get("layers", ())), tree]
            snapshots.finish(directory)
            with snapshots.copied(directory, partial(self._standing_still, directory), self._first(directory)) as copy:
                owner = self.owner(directory)
                exporting.pack(copy, lowers, file, instance.machine, self.context.emit, owner)

    def owner(self, _directory: Path) -> Sequence[str]:
        """What is put before a tool that reads a machine's files, so that it sees the owners that the machine sees."""
        from envup.namespaces import programs

        return programs.as_owner()

    def snapshots(self, instance: Instance) -> Sequence[Snapshot]:
        """See `Snapshots`."""
        from envup.namespaces import snapshots

        return snapshots.every(self.machines.directory(instance.labels))

    def require_snapshots(self, instance: Instance) -> None:
        """See `Snapshots`."""
        from envup.namespaces import snapshots

        directory = self.machines.directory(instance.labels)
        with directories.told("keep", directory), directories.held(directory):
            snapshots.finish(directory)
            snapshots.require_part(directory)

    def take_snapshot(self, instance: Instance, name: str) -> Snapshot:
        """See `Snapshots`."""
        from envup.namespaces import snapshots

        directory = self.machines.directory(instance.labels)
        with directories.told("keep", directory), directories.held(directory):
            snapshots.finish(directory)
            return snapshots.take(directory, name, partial(self._standing_still, directory), self._first(directory))

    def restore_snapshot(self, instance: Instance, name: str) -> Instance:
        """See `Snapshots`."""
        from envup.namespaces import keeping, snapshots

        directory = self.machines.directory(instance.labels)
        with directories.told("restore", directory), directories.held(directory):
            snapshots.finish(directory)
            snapshots.require(directory, name)
            self._end(directory, 0)
            keeping.forget(self.layer_store(), self.machines.facts(directory)["id"])
            snapshots.restore(directory, name)
        return self.machines.present(instance.labels)

    def copy_snapshot(self, source: Instance, name: str, spec: MachineSpec, labels: Mapping[str, str]) -> Instance:
        """See `Snapshots`."""
        from envup.namespaces import layers, snapshots

        origin, directory = self.machines.directory(source.labels), self.machines.directory(labels)
        with directories.told("make", directory), directories.held(origin):
            snapshots.finish(origin)
            snapshots.require(origin, name)
            known = self.machines.facts(origin)
            keys, image = known.get("layers", ()), Image(known["image"], None, known.get("architecture", ""))
            first = next(iter(layers.stack(self.context.data, keys)), self.trees().path(image.digest))
            common = {"labels": dict(labels), "image": image.digest, "layers": keys}

            def fill() -> Mapping[str, Any]:
                facts = self.fill(directory, first, spec, image)
                snapshots.copy(origin, name, directory, spec.resources.disk)
                return {**common, **facts}

            directories.make(directory, fill)
        return self.machines.present(labels)

    def delete_snapshot(self, instance: Instance, name: str) -> None:
        """See `Snapshots`."""
        from envup.namespaces import snapshots

        directory = self.machines.directory(instance.labels)
        with directories.told("change", directory), directories.held(directory):
            snapshots.finish(directory)
            snapshots.delete(directory, name)

    def paused(self, instance: Instance) -> contextlib.AbstractContextManager[None]:
        """See `Pause`."""
        return self._standing_still(self.machines.directory(instance.labels))

    @contextlib.contextmanager
    def _standing_still(self, directory: Path) -> Iterator[None]:
        """The machine, if it runs, with all its programs paused."""
        from envup.namespaces import pausing

        first = self._first(directory)
        with contextlib.nullcontext() if first is None else pausing.paused(first):
            yield

    def _first(self, directory: Path) -> int | None:
        """The first process of the machine, if it runs."""
        run = self.recorded(directory)
        return None if run is None else self.way(run).pid

    def remove_layer(self, key: str) -> None:
        """See `Layers`."""
        self.layer_store().remove(key)

    def mend_layers(self) -> None:
        """See `Layers`."""
        from envup.namespaces import snapshots

        self.layer_store().mend()
        for directory in self.machines.all(None):
            with contextlib.suppress(BlockingIOError, FileNotFoundError), directories.locked(directory, wait=False):
                snapshots.sweep(directory)

    def layer_store(self) -> LayerStore:
        """The layers."""
        from envup.namespaces.layers import LayerStore

        return LayerStore(self.context, self.machines.standing)

    def trees(self) -> Trees:
        """The unpacked images."""
        from envup.namespaces.trees import Trees

        return Trees(self.context.data)
