"""The KVM provider: the verbs, put together from the modules beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from envup.errors import EnvupError, TransportError
from envup.events import Emit, Event
from envup.image import Image
from envup.model import ImageReference
from envup.namespaces import directories
from envup.namespaces.directories import Directories
from envup.provider import (
    Check,
    Command,
    Console,
    Dial,
    Export,
    Flush,
    HostCommand,
    ImageForms,
    Instance,
    Layer,
    MachineSpec,
    MemoryLayers,
    OwnImages,
    Provider,
    ProviderContext,
    Resize,
    Snapshot,
    Snapshots,
    Suspend,
)
from envup_kvm import commands, connection, seeing
from envup_kvm.machines import CONSOLE, DISK, Machine, trouble_of

if TYPE_CHECKING:
    import socket

    from envup.namespaces.layers import LayerStore
    from envup_kvm.disks import Disks
    from envup_kvm.kits import Kit

_PATIENCE = 60.0
"""Seconds in which a machine that goes on answers."""


class KvmProvider(Provider, Resize, Suspend, Snapshots, MemoryLayers, Flush, Console, Dial, ImageForms, OwnImages):
    """Virtual machines of libvirt's QEMU driver, on disks that are laid over images."""

    name: ClassVar[str] = "kvm"
    isolation: ClassVar[str] = "machine"
    modes: ClassVar[frozenset[str]] = frozenset({"root", "rootless"})
    sources: ClassVar[frozenset[str]] = frozenset({"disk"})

    def __init__(self, context: ProviderContext) -> None:
        super().__init__(context)
        self._machines = Directories(context.data, seeing.look)

    def doctor(self) -> Sequence[Check]:
        """See `Provider`."""
        from envup_kvm import doctor

        return doctor.examine(self.context.data, rootless=os.geteuid() != 0)

    def check(self, spec: MachineSpec) -> Sequence[str]:
        """See `Provider`."""
        from envup_kvm import capabilities, checks

        connect = partial(self._connections.at, connection.of(spec))
        return [*checks.reasons(spec), *capabilities.reasons(spec, connect)]

    def observe(self, environment: str | None) -> Sequence[Instance]:
        """See `Provider`."""
        return seeing.observe(self._connections, self._machines, environment, self.context)

    def create(self, spec: MachineSpec, image: Image, labels: Mapping[str, str]) -> Instance:
        """See `Provider`."""
        from envup.namespaces import layers
        from envup_kvm import making, owners

        making.refuse_foreign(image)
        machine = self._machine(labels)
        kit = self._kit(spec.name)
        anew = partial(self._require_unused, image.digest, "is gone, and another one does not fit")
        with (
            self._disks().use(image, partial(self._tell, spec.name), anew) as base,
            self._layer_store().using(image.layer) as keys,
        ):
            self._disks().admit(owners.qemu(self._libvirtd(machine)))
            between = layers.stack(self.context.data, keys, DISK)
            directories.make(
                machine.directory, lambda: {**making.fill(machine, spec, image, base, between), "layers": keys}
            )
            making.define(self._libvirtd(machine), machine, self._machines.facts(machine.directory), spec, kit)
        return self._present(labels)

    def start(self, instance: Instance, spec: MachineSpec) -> Instance:
        """See `Provider`."""
        from envup_kvm import starting

        machine = self._machine(instance.labels)
        with directories.held(machine.directory):
            known = self._machines.facts(machine.directory)
            if not starting.is_up(self._libvirtd(machine), machine, spec):
                machine.end(self._libvirtd(machine))
                kit = self._kit(spec.name)
                starting.start(self._libvirtd(machine), machine, known, spec, kit, self.context.emit)
        return self._present(instance.labels)

    def stop(self, instance: Instance, *, grace: float = 10.0) -> None:
        """See `Provider`."""
        from envup_kvm import network, stopping

        machine = self._machine(instance.labels)
        if machine.directory.is_dir():
            with directories.locked(machine.directory):
                stopping.stop(self._libvirtd(machine), machine, grace)
                network.leave(machine)
        else:
            machine.end(self._libvirtd(machine))

    def destroy(self, instance: Instance) -> None:
        """See `Provider`."""
        from envup_kvm import network, remote

        machine = self._machine(instance.labels)
        if not machine.directory.is_dir():
            machine.remove(self._libvirtd(machine))
            return
        with directories.locked(machine.directory):
            machine.remove(self._libvirtd(machine))
            if away := remote.Remote.of(self._libvirtd(machine), machine):
                away.remove()
            network.leave(machine)
            self._give_up_network(machine)
            directories.unmake(machine.directory)

    def _give_up_network(self, machine: Machine) -> None:
        """The last machine takes along what all shared; one at a time, so that one is the last."""
        from envup_kvm import network

        environment = machine.labels["envup.environment"]
        network.sweep(machine)
        with directories.locked(self.context.runtime):
            if all(other.labels == machine.labels for other in self._machines.observe(environment)):
                network.free(machine)
            (machine.directory / directories.MACHINE).unlink(missing_ok=True)

    def command(self, instance: Instance, command: Command) -> HostCommand:
        """See `Provider`."""
        return commands.enter(str(self._running(instance).place), command)

    def send(self, instance: Instance, directory: str, archive: BinaryIO) -> None:
        """See `Provider`."""
        from envup.namespaces import transport

        line = commands.transfer(str(self._running(instance).place), "unpack", directory)
        failure = f"cannot send files to machine '{instance.machine}'"
        transport.run(line, failure, self.context.emit, instance.machine, stdin=archive)

    def fetch(self, instance: Instance, path: str, archive: BinaryIO) -> None:
        """See `Provider`."""
        from envup.namespaces import transport

        line = commands.transfer(str(self._running(instance).place), "pack", path)
        failure = f"cannot fetch files from machine '{instance.machine}'"
        transport.run(line, failure, self.context.emit, instance.machine, stdout=archive)

    def resize(self, instance: Instance, spec: MachineSpec) -> None:
        """See `Resize`."""
        from envup_kvm import resizing

        machine = self._machine(instance.labels)
        with directories.held(machine.directory):
            base = self._disks().path(self._machines.facts(machine.directory)["image"])
            resizing.resize(self._libvirtd(machine), machine, spec, base)

    def can_resize(self, instance: Instance, spec: MachineSpec) -> bool:
        """See `Resize`."""
        from envup_kvm import resizing

        machine = self._machine(instance.labels)
        return resizing.is_possible(self._libvirtd(machine), machine, spec)

    def suspend(self, instance: Instance) -> None:
        """See `Suspend`."""
        self._freeze(instance, "suspend", "running")

    def resume(self, instance: Instance) -> None:
        """See `Suspend`."""
        from envup_kvm import asking

        machine = self._machine(instance.labels)
        self._freeze(instance, "resume", "suspended")
        try:
            asking.wake(machine.place, instance.machine, seconds=_PATIENCE)
        except EnvupError as error:
            if trouble := self._trouble(machine):
                raise EnvupError(f"machine '{instance.machine}' cannot go on", details=trouble) from error
            raise

    def snapshots(self, instance: Instance) -> Sequence[Snapshot]:
        """See `Snapshots`."""
        from envup_kvm import snapshot_files

        return [kept.snapshot for kept in snapshot_files.every(self._machine(instance.labels).directory)]

    def require_snapshots(self, instance: Instance) -> None:
        """See `Snapshots`."""
        from envup_kvm import remote

        remote.refuse(self._machine(instance.labels), "snapshots")

    def take_snapshot(self, instance: Instance, name: str) -> Snapshot:
        """See `Snapshots`."""
        from envup_kvm import snapshots

        self.require_snapshots(instance)
        machine = self._machine(instance.labels)
        with directories.held(machine.directory):
            return snapshots.take(self._libvirtd(machine), machine, name)

    def restore_snapshot(self, instance: Instance, name: str) -> Instance:
        """See `Snapshots`."""
        from envup_kvm import snapshots

        machine = self._machine(instance.labels)
        with directories.held(machine.directory):
            snapshots.restore(self._libvirtd(machine), machine, name)
        return self._present(instance.labels)

    def copy_snapshot(self, source: Instance, name: str, spec: MachineSpec, labels: Mapping[str, str]) -> Instance:
        """See `Snapshots`."""
        from envup_kvm import copying, making

        machine, origin = self._machine(labels), self._machine(source.labels)
        kit = self._kit(spec.name)
        with directories.held(origin.directory):
            known = self._machines.facts(origin.directory)
            copying.make(self._libvirtd(origin), origin, known, name, machine, spec)
            making.define(self._libvirtd(machine), machine, self._machines.facts(machine.directory), spec, kit)
        return self._present(labels)

    def delete_snapshot(self, instance: Instance, name: str) -> None:
        """See `Snapshots`."""
        from envup_kvm import snapshots

        machine = self._machine(instance.labels)
        with directories.held(machine.directory):
            snapshots.delete(self._libvirtd(machine), machine, name)

    def layers(self) -> Sequence[Layer]:
        """See `Layers`."""
        return self._layer_store().all()

    def keeps_layers(self, spec: MachineSpec) -> bool:
        """See `Layers`."""
        from envup_kvm import keeping

        return keeping.can_be_kept(spec)

    def keep_layer(self, instance: Instance, key: str, note: Mapping[str, Any]) -> None:
        """See `Layers`."""
        self._keep(instance, key, note, None)

    def keep_layer_with_memory(self, instance: Instance, key: str, note: Mapping[str, Any]) -> None:
        """See `MemoryLayers`."""
        self._keep(instance, key, note, self.context.emit)

    def _keep(self, instance: Instance, key: str, note: Mapping[str, Any], emit: Emit | None) -> None:
        from envup_kvm import keeping

        machine = self._machine(instance.labels)
        with directories.told("keep", machine.directory), directories.held(machine.directory):
            keeping.keep(self._libvirtd(machine), machine, self._layer_store(), key, note, emit)

    def remove_layer(self, key: str) -> None:
        """See `Layers`."""
        self._layer_store().remove(key)

    def mend_layers(self) -> None:
        """See `Layers`."""
        self._layer_store().mend()

    def _layer_store(self) -> LayerStore:
        from envup.namespaces.layers import LayerStore

        return LayerStore(self.context, self._machines.standing, DISK)

    def flush(self, instance: Instance) -> None:
        """See `Flush`."""
        from envup_kvm import asking

        asking.flush(self._running(instance).place, instance.machine)

    def console(self, instance: Instance, *, follow: bool = False) -> HostCommand:
        """See `Console`."""
        from envup_kvm import remote

        machine = self._machine(instance.labels)
        if (line := remote.console_line(machine, follow=follow)) is not None:
            return HostCommand(line)
        log = machine.directory / CONSOLE
        return HostCommand(("tail", "-c", "+1", *(("-F",) if follow else ()), str(log)))

    def dial(self, instance: Instance, port: int, *, timeout: float = 10.0) -> socket.socket:
        """See `Dial`. A service may listen on the machine's address alone."""
        from envup.namespaces import LOOPBACK
        from envup_kvm import dialling, link

        machine = self._running(instance)
        own = (machine.recorded() or {}).get("address")
        try:
            return dialling.dial(str(machine.place), port, [*LOOPBACK, *([own] if own else [])], timeout)
        except link.NoWay as error:
            brief = f"machine '{instance.machine}' cannot be reached"
            raise TransportError(brief, details=str(error), hint="look at `env status`") from error

    def obtain(self, reference: ImageReference, emit: Emit, *, refresh: bool = False) -> Image:
        """See `OwnImages`."""
        return self._disks().obtain(reference.options, emit, refresh=refresh)

    def forms(self) -> Sequence[tuple[str, int]]:
        """See `ImageForms`."""
        return self._disks().forms()

    def remove_form(self, digest: str) -> None:
        """See `ImageForms`."""
        from envup_kvm import remote

        with self._disks().removing(digest):
            self._require_unused(digest, "is in use by")
            remote.forget_image(self._connections, self.context.data, digest)

    def _require_unused(self, digest: str, state: str) -> None:
        """Of the disk of an image. Errors: `EnvupError`, of which `state` says what the disk is."""
        if user := self._machines.uses(digest):
            raise EnvupError(f"the disk of image {digest} {state} {user}", hint="destroy that machine first")
        # after the machines, of which layers are kept
        if key := next((layer.key for layer in self.layers() if layer.note.get("image") == digest), None):
            raise EnvupError(f"the disk of image {digest} {state} the layer {key}", hint="run: env prune")

    @cached_property
    def _connections(self) -> connection.Connections:
        return connection.Connections()

    def _libvirtd(self, machine: Machine) -> Any:
        return self._connections.at(seeing.uri(machine.directory))

    def _machine(self, labels: Mapping[str, str]) -> Machine:
        return Machine.of(labels, self._machines.directory(labels), self.context)

    def _running(self, instance: Instance) -> Machine:
        """The machine, which runs. Errors: `TransportError`."""
        machine = self._machine(instance.labels)
        state = machine.state(self._libvirtd(machine))
        if state == "suspended":
            raise TransportError(
                f"machine '{instance.machine}' is suspended", details=self._trouble(machine), hint="run: env resume"
            )
        if state != "running":
            raise TransportError(f"machine '{instance.machine}' is not running", hint="run: env up")
        return machine

    def _trouble(self, machine: Machine) -> str:
        domain = machine.domain(self._libvirtd(machine))
        with connection.telling("libvirt does not answer"):
            return "" if domain is None else trouble_of(domain)

    def _freeze(self, instance: Instance, verb: str, wanted: str) -> None:
        machine = self._machine(instance.labels)
        with directories.held(machine.directory):
            state = machine.state(self._libvirtd(machine))
            if state not in ("running", "suspended"):
                raise TransportError(f"machine '{instance.machine}' is not running", hint="run: env up")
            with connection.telling(f"cannot {verb} machine '{instance.machine}'"):
                if state == wanted:
                    getattr(machine.domain(self._libvirtd(machine)), verb)()

    def _present(self, labels: Mapping[str, str]) -> Instance:
        for instance in self.observe(labels["envup.environment"]):
            if instance.machine == labels["envup.machine"]:
                return instance
        raise EnvupError(f"machine '{labels['envup.machine']}' vanished while it was worked on")

    def _disks(self) -> Disks:
        from envup_kvm.disks import Disks

        return Disks(self.context.data)

    def _kit(self, machine: str) -> Kit:
        from envup_kvm import kits

        return kits.ensure(self.context.data, lambda text: self._tell(machine, text))

    def _tell(self, machine: str, text: str) -> None:
        self.context.emit(Event("progress", machine=machine, text=text))


class ExportingKvmProvider(KvmProvider, Export):
    """For root, who alone may mount disks."""

    def exports(self, instance: Instance) -> str:
        """See `Export`."""
        from envup_kvm import disk_images

        known = self._machines.facts(self._machine(instance.labels).directory)
        return "qcow2" if disk_images.boots(self._disks().path(known["image"])) else "tar"

    def export(self, instance: Instance, file: BinaryIO) -> None:
        """See `Export`."""
        from envup_kvm import exporting

        machine, whole = self._machine(instance.labels), self.exports(instance) == "qcow2"
        with directories.told("pack", machine.directory), directories.held(machine.directory):
            exporting.export(self._libvirtd(machine), machine, file, self.context.emit, whole=whole)
