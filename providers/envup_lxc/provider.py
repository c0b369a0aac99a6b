"""The LXC provider: what it adds to those whose machines live in namespaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from envup import namespaces
from envup.errors import TransportError
from envup.image import Image
from envup.namespaces import directories, records
from envup.namespaces.provider import NamespaceProvider
from envup.provider import Check, Console, Dial, HostCommand, Instance, MachineSpec, Resize, Suspend
from envup_lxc import groups, seeing

if TYPE_CHECKING:
    import socket


class LxcProvider(NamespaceProvider, Resize, Console, Dial):
    """System containers on copy-on-write images, in user namespaces, on a network of the environment."""

    name: ClassVar[str] = "lxc"
    isolation: ClassVar[str] = "container"
    modes: ClassVar[frozenset[str]] = frozenset({"root", "rootless"})
    touches: ClassVar[Mapping[str, str]] = {"resources.disk": "restart"}
    facts: ClassVar[frozenset[str]] = seeing.FACTS

    def doctor(self) -> Sequence[Check]:
        """See `Provider`."""
        from envup_lxc import doctor

        return doctor.examine(self.context.data, rootless=self.rootless)

    def check(self, spec: MachineSpec) -> Sequence[str]:
        """See `Provider`."""
        from envup_lxc import checks

        return checks.reasons(spec, rootless=self.rootless)

    def current(self, run: Mapping[str, Any], boot: str) -> Mapping[str, Any] | None:
        """See `NamespaceProvider`."""
        return seeing.current(run, boot)

    def look(self, directory: str, facts: Mapping[str, Any], run: Mapping[str, Any] | None, boot: str) -> Instance:
        """See `NamespaceProvider`."""
        return seeing.completed(super().look(directory, facts, run, boot), run)

    def fill(self, directory: Path, tree: Path, spec: MachineSpec, image: Image) -> Mapping[str, Any]:
        """See `NamespaceProvider`."""
        from envup_lxc import making

        return making.fill(directory, tree, spec, image)

    def launch(
        self, directory: Path, _lock: int, trees: Sequence[Path], facts: Mapping[str, Any], spec: MachineSpec
    ) -> None:
        """See `NamespaceProvider`. The keeper ends what this process has not settled: no lock need be kept."""
        from envup.namespaces import disk_images
        from envup_lxc import launching

        if facts["disk"] and spec.resources.disk is not None:
            disk_images.grow_image(directory / "disk.img", spec.resources.disk)
        launching.start(self.context, launching.Machine(directory, facts, spec, trees, self.group(directory)))

    def end(self, directory: Path, run: Mapping[str, Any] | None, grace: float) -> None:
        """See `NamespaceProvider`."""
        from envup_lxc import stopping
        from envup_lxc.client import Keeper

        if run is not None:
            environment, _, machine = directory.name.rpartition(".")
            boot = records.boot()
            if (now := seeing.current(run, boot)) is not None:
                stopping.stop(now, grace, machine, self.context.emit)
            with Keeper.ending(self.context.runtime, environment, machine, network=run["network"]):
                if seeing.is_monitored(run, boot):
                    stopping.await_cleaning(run)
        groups.remove(self.group(directory), rootless=self.rootless)

    def leave(self, instance: Instance) -> None:
        """See `NamespaceProvider`. The last machine takes along what all shared; one at a time, so that one is the
        last."""
        from envup.networks import addresses
        from envup_lxc.client import Keeper

        environment = instance.labels["envup.environment"]
        Keeper.sweep(self.context.runtime, environment)
        with directories.locked(self.context.runtime):
            if all(other.machine == instance.machine for other in self.observe(environment)):
                addresses.free(self.context.data, environment)
            (self.machines.directory(instance.labels) / directories.MACHINE).unlink(missing_ok=True)

    def way(self, run: Mapping[str, Any]) -> namespaces.Way:
        """See `NamespaceProvider`."""
        from envup_lxc import ways

        return ways.way(run)

    def entrance(self, instance: Instance) -> namespaces.Way:
        """See `NamespaceProvider`. Programs in a machine that is suspended would hang."""
        run = self.running(instance)
        if groups.is_frozen(run["freezer"]):
            raise TransportError(f"machine '{instance.machine}' is suspended", hint="run: env resume")
        return self.way(run)

    def resize(self, instance: Instance, spec: MachineSpec) -> None:
        """See `Resize`."""
        from envup.namespaces import limits

        directory = self.machines.directory(instance.labels)
        with directories.told("resize", directory), directories.held(directory):
            run, group = self.running(instance), self.group(directory)
            limits.resize(directory, run, group, spec.resources, rootless=self.rootless)

    def console(self, instance: Instance, *, follow: bool = False) -> HostCommand:
        """See `Console`."""
        from envup_lxc import config

        log = self.machines.directory(instance.labels) / config.CONSOLE
        return HostCommand(("tail", "-c", "+1", *(("-F",) if follow else ()), str(log)))

    def owner(self, directory: Path) -> Sequence[str]:
        """See `NamespaceProvider`. A copy of an image has the owners that the machine's users are on the host."""
        from envup.namespaces import programs, subids

        if subids.maps() or not (directory / "root").exists():
            return super().owner(directory)
        return programs.as_root_of(*subids.shifted())

    def keeps_layers(self, spec: MachineSpec) -> bool:
        """See `Layers`."""
        from envup_lxc import making

        return super().keeps_layers(spec) and making.can_layer(self.context.data)

    def dial(self, instance: Instance, port: int, *, timeout: float = 10.0) -> socket.socket:
        """See `Dial`. A service may listen on the machine's address alone."""
        way, own = self.entrance(instance), self.running(instance)["address"]
        addresses = tuple(dict.fromkeys((*namespaces.LOOPBACK, own)))
        return namespaces.dial(way, port, machine=instance.machine, timeout=timeout, addresses=addresses)


class FreezingLxcProvider(LxcProvider, Suspend):
    """Where this user's machines have a freezer."""

    def suspend(self, instance: Instance) -> None:
        """See `Suspend`."""
        self._freeze(instance, frozen=True)

    def resume(self, instance: Instance) -> None:
        """See `Suspend`."""
        self._freeze(instance, frozen=False)

    def _freeze(self, instance: Instance, *, frozen: bool) -> None:
        directory = self.machines.directory(instance.labels)
        with directories.told("suspend" if frozen else "resume", directory), directories.held(directory):
            run = self.running(instance)
            if groups.is_frozen(run["freezer"]) != frozen:
                groups.freeze(run["freezer"], frozen=frozen)
