"""The LXC provider: the verbs, put together from the modules beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from envup import namespaces
from envup.errors import EnvupError, TransportError
from envup.image import Image
from envup.namespaces import directories, records
from envup.namespaces.directories import Directories
from envup.provider import (
    Check,
    Command,
    Console,
    HostCommand,
    ImageForms,
    Instance,
    MachineSpec,
    Provider,
    ProviderContext,
    Resize,
    Suspend,
)
from envup_lxc import groups, seeing

if TYPE_CHECKING:
    from envup.namespaces.trees import Trees


class LxcProvider(Provider, Resize, Console, ImageForms):
    """System containers on copy-on-write images, in user namespaces, on a network of the environment."""

    name: ClassVar[str] = "lxc"
    isolation: ClassVar[str] = "container"
    modes: ClassVar[frozenset[str]] = frozenset({"root", "rootless"})
    touches: ClassVar[Mapping[str, str]] = {"resources.disk": "restart"}

    def __init__(self, context: ProviderContext) -> None:
        super().__init__(context)
        self._machines = Directories(context.data, seeing.look, seeing.FACTS)
        self._rootless = os.geteuid() != 0

    def doctor(self) -> Sequence[Check]:
        """See `Provider`."""
        from envup_lxc import doctor

        return doctor.examine(self.context.data, rootless=self._rootless)

    def check(self, spec: MachineSpec) -> Sequence[str]:
        """See `Provider`."""
        from envup_lxc import checks

        return checks.reasons(spec, rootless=self._rootless)

    def observe(self, environment: str | None) -> Sequence[Instance]:
        """See `Provider`."""
        return self._machines.observe(environment)

    def create(self, spec: MachineSpec, image: Image, labels: Mapping[str, str]) -> Instance:
        """See `Provider`."""
        from envup_lxc import making

        directory = self._machines.directory(labels)
        with self._trees().use(image) as tree:
            directories.make(directory, lambda: making.fill(directory, spec, image, tree, labels))
        return self._machines.present(labels)

    def start(self, instance: Instance, spec: MachineSpec) -> Instance:
        """See `Provider`."""
        from envup.namespaces import disk_images
        from envup_lxc import launching

        directory = self._machines.directory(instance.labels)
        with directories.held(directory):
            facts = self._machines.facts(directory)
            run = seeing.running(str(directory))
            if run is not None and run["ready"]:
                return self._machines.present(instance.labels)
            self._end(directory, run, 0)
            tree = self._trees().path(facts["image"])
            if not tree.is_dir():
                raise EnvupError(f"the image of machine '{spec.name}' is gone: {tree}", hint="destroy the machine")
            if facts["disk"] and spec.resources.disk is not None:
                disk_images.grow_image(directory / "disk.img", spec.resources.disk)
            launching.start(self.context, launching.Machine(directory, facts, spec, tree, _group(directory)))
        return self._machines.present(instance.labels)

    def stop(self, instance: Instance, *, grace: float = 10.0) -> None:
        """See `Provider`."""
        directory = self._machines.directory(instance.labels)
        if not directory.is_dir():
            return
        with directories.locked(directory):
            self._end(directory, seeing.running(str(directory)), grace)

    def destroy(self, instance: Instance) -> None:
        """See `Provider`."""
        directory = self._machines.directory(instance.labels)
        self._trees().sweep()
        if directory.is_dir():
            with directories.locked(directory):
                self._end(directory, seeing.running(str(directory)), 0)
                self._leave(directory, instance)
                directories.unmake(directory)

    def command(self, instance: Instance, command: Command) -> HostCommand:
        """See `Provider`."""
        return namespaces.enter(self._way(instance), command)

    def send(self, instance: Instance, directory: str, archive: BinaryIO) -> None:
        """See `Provider`."""
        way = self._way(instance)
        namespaces.send(way, directory, archive, machine=instance.machine, emit=self.context.emit)

    def fetch(self, instance: Instance, path: str, archive: BinaryIO) -> None:
        """See `Provider`."""
        namespaces.fetch(self._way(instance), path, archive, machine=instance.machine, emit=self.context.emit)

    def resize(self, instance: Instance, spec: MachineSpec) -> None:
        """See `Resize`."""
        from envup_lxc import resizing

        directory = self._machines.directory(instance.labels)
        with directories.held(directory):
            resizing.resize(directory, self._running(instance), _group(directory), spec, rootless=self._rootless)

    def console(self, instance: Instance, *, follow: bool = False) -> HostCommand:
        """See `Console`."""
        from envup_lxc import config

        log = self._machines.directory(instance.labels) / config.CONSOLE
        return HostCommand(("tail", "-c", "+1", *(("-F",) if follow else ()), str(log)))

    def forms(self) -> Sequence[tuple[str, int]]:
        """See `ImageForms`."""
        return self._trees().forms()

    def remove_form(self, digest: str) -> None:
        """See `ImageForms`."""
        with self._trees().removing(digest):
            if user := self._machines.uses(digest):
                raise EnvupError(f"the image {digest} is in use by {user}", hint="destroy that machine first")

    def _end(self, directory: Path, run: Mapping[str, Any] | None, grace: float) -> None:
        """End a machine's processes and remove its control groups, those that a killed LXC has left included."""
        from envup_lxc import stopping
        from envup_lxc.client import Keeper

        if run is not None:
            stopping.stop(run, grace)
        if (last := directories.read(f"{directory}/{records.FILE}")) is not None:
            environment, _, machine = directory.name.rpartition(".")
            Keeper.await_end(self.context, environment, machine, network=last["network"])
        groups.remove(_group(directory), rootless=self._rootless)

    def _leave(self, directory: Path, instance: Instance) -> None:
        """Take a machine from its environment; the last one takes along what they share. That goes first: who dies
        here is to find the machine again, and with it what is left to do. One at a time, so that one is the last."""
        from envup_lxc import addresses
        from envup_lxc.client import Keeper

        environment = instance.labels["envup.environment"]
        Keeper.sweep(self.context, environment)
        with directories.locked(self.context.runtime):
            if all(other.machine == instance.machine for other in self.observe(environment)):
                addresses.free(self.context.data, environment)
            (directory / directories.MACHINE).unlink(missing_ok=True)

    def _running(self, instance: Instance) -> Mapping[str, Any]:
        """The record of a running machine. Errors: `TransportError`."""
        run = seeing.running(str(self._machines.directory(instance.labels)))
        if run is None or not run["ready"]:
            raise TransportError(f"machine '{instance.machine}' is not running", hint="run: env up")
        return run

    def _way(self, instance: Instance) -> namespaces.Way:
        from envup_lxc import ways

        run = self._running(instance)
        if groups.is_frozen(run["freezer"]):
            raise TransportError(f"machine '{instance.machine}' is suspended", hint="run: env resume")
        return ways.way(run)

    def _trees(self) -> Trees:
        from envup.namespaces.trees import Trees

        return Trees(self.context.data)


class FreezingLxcProvider(LxcProvider, Suspend):
    """Where this user's machines have a freezer."""

    def suspend(self, instance: Instance) -> None:
        """See `Suspend`."""
        self._freeze(instance, frozen=True)

    def resume(self, instance: Instance) -> None:
        """See `Suspend`."""
        self._freeze(instance, frozen=False)

    def _freeze(self, instance: Instance, *, frozen: bool) -> None:
        directory = self._machines.directory(instance.labels)
        with directories.held(directory):
            run = self._running(instance)
            if groups.is_frozen(run["freezer"]) != frozen:
                groups.freeze(run["freezer"], frozen=frozen)


def _group(directory: Path) -> str:
    """The name of a machine's control groups; chroot's have no such beginning."""
    return f"lxc-{directory.name}"
