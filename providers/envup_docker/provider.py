"""The Docker provider: the verbs, put together from the modules beside it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from envup.errors import EnvupError, TransportError
from envup.events import Emit
from envup.image import Image
from envup.model import ImageReference
from envup.provider import (
    Check,
    Command,
    Console,
    Dial,
    Export,
    HostCommand,
    ImageForms,
    Instance,
    Layer,
    Layers,
    MachineSpec,
    OwnImages,
    Provider,
    Resize,
    Snapshot,
    Snapshots,
    Suspend,
)
from envup_docker import commands, containers, endpoint, settings
from envup_docker.engine import Engine, EngineError
from envup_docker.refusals import telling, told

if TYPE_CHECKING:
    import socket

_PATIENCE = 0.3
"""Seconds in which a program that is no init and cannot work tends to end."""


class DockerProvider(Provider, Resize, Suspend, Snapshots, Export, Console, Dial, Layers, ImageForms, OwnImages):
    """Machines as containers of a Docker engine. Their labels are all that is recorded of them."""

    name: ClassVar[str] = "docker"
    isolation: ClassVar[str] = "container"
    modes: ClassVar[frozenset[str]] = frozenset({"root", "rootless"})
    touches: ClassVar[Mapping[str, str]] = {"resources.disk": "recreate"}
    sources: ClassVar[frozenset[str]] = frozenset({"docker", "dockerfile"})

    def doctor(self) -> Sequence[Check]:
        """See `Provider`."""
        from envup_docker import doctor

        return doctor.examine(os.environ)

    def check(self, spec: MachineSpec) -> Sequence[str]:
        """See `Provider`."""
        from envup_docker import checks

        return checks.reasons(spec, self)

    def observe(self, environment: str | None) -> Sequence[Instance]:
        """See `Provider`."""
        with telling("the engine does not list its containers"):
            label = "envup.environment" if environment is None else f"envup.environment={environment}"
            return self._seen(containers.listed(self._engine, label))

    def create(self, spec: MachineSpec, image: Image, labels: Mapping[str, str]) -> Instance:
        """See `Provider`."""
        from envup_docker import images, layers

        with telling(f"cannot create machine '{spec.name}'"):
            known = images.ensure(self._engine, self.context.runtime, image)
            base = layers.use(self._engine, self._used, image.layer) if image.layer else None
            begun = layers.name(image.layer) if image.layer else known
            return self._making(labels, lambda: containers.create(self._engine, spec, begun, labels, base))

    def _making(self, labels: Mapping[str, str], create: Callable[[], Instance]) -> Instance:
        """What `create` makes, with the network that Podman wants before."""
        from envup_docker import networks

        try:
            return create()
        except EngineError as error:
            if "network not found" not in error.message:
                raise
            networks.make(self._engine, labels["envup.environment"])
            return create()

    def start(self, instance: Instance, spec: MachineSpec) -> Instance:
        """See `Provider`."""
        from envup_docker import ending, networks, publishing, remaking

        with telling(f"cannot start machine '{spec.name}'"), publishing.telling(spec):
            called, found = containers.name(instance.labels), containers.inspect(self._engine, instance.labels)
            if found["State"]["Running"] and not remaking.fits(spec, found):
                ending.stop(self._engine, called, 0)  # Somebody who died had asked for it, as it was declared then.
                found = containers.look(self._engine, called)
            if not found["State"]["Running"]:
                remaking.fit(self._engine, spec, found)
                networks.ensure(self._engine, self.context.runtime, spec, found)
                self._engine.call("POST", f"/containers/{called}/start")
                if settings.brings_own_program(spec) and ending.ended(self._engine, called, _PATIENCE):
                    self._complain(instance)
        return self._present(instance.labels)

    def stop(self, instance: Instance, *, grace: float = 10.0) -> None:
        """See `Provider`."""
        from envup_docker import ending

        with telling(f"cannot stop machine '{instance.machine}'"):
            ending.stop(self._engine, self._names.of(instance.labels), grace)

    def destroy(self, instance: Instance) -> None:
        """See `Provider`."""
        from envup_docker import ending

        with telling(f"cannot destroy machine '{instance.machine}'"):
            ending.destroy(self._engine, self.context.runtime, instance.labels)

    def command(self, instance: Instance, command: Command) -> HostCommand:
        """See `Provider`."""
        return commands.enter(self._endpoint, self._names.of(instance.labels), command)

    def send(self, instance: Instance, directory: str, archive: BinaryIO) -> None:
        """See `Provider`."""
        from envup_docker import transfer

        container, emit = self._names.of(instance.labels), self.context.emit
        transfer.send(self._engine, container, directory, archive, machine=instance.machine, emit=emit)

    def fetch(self, instance: Instance, path: str, archive: BinaryIO) -> None:
        """See `Provider`."""
        from envup_docker import transfer

        container, emit = self._names.of(instance.labels), self.context.emit
        transfer.fetch(self._engine, container, path, archive, machine=instance.machine, emit=emit)

    def resize(self, instance: Instance, spec: MachineSpec) -> None:
        """See `Resize`."""
        with telling(f"cannot change the limits of machine '{spec.name}'"):
            containers.update(self._engine, spec, self._names.of(instance.labels))

    def suspend(self, instance: Instance) -> None:
        """See `Suspend`."""
        self._freeze(instance, "pause")

    def resume(self, instance: Instance) -> None:
        """See `Suspend`."""
        self._freeze(instance, "unpause")

    def console(self, instance: Instance, *, follow: bool = False) -> HostCommand:
        """See `Console`."""
        return commands.console(self._endpoint, self._names.of(instance.labels), follow=follow)

    def snapshots(self, instance: Instance) -> Sequence[Snapshot]:
        """See `Snapshots`."""
        from envup_docker import snapshots

        with telling(f"the engine does not list the snapshots of machine '{instance.machine}'"):
            return snapshots.every(self._engine, instance)

    def take_snapshot(self, instance: Instance, name: str) -> Snapshot:
        """See `Snapshots`."""
        from envup_docker import snapshots

        with telling(f"cannot take a snapshot of machine '{instance.machine}'"):
            return snapshots.take(self._engine, instance, name)

    def restore_snapshot(self, instance: Instance, name: str) -> Instance:
        """See `Snapshots`."""
        from envup_docker import snapshots

        with telling(f"cannot restore snapshot '{name}' of machine '{instance.machine}'"):
            snapshots.restore(self._engine, instance, name)
        return self._present(instance.labels)

    def copy_snapshot(self, source: Instance, name: str, spec: MachineSpec, labels: Mapping[str, str]) -> Instance:
        """See `Snapshots`."""
        from envup_docker import snapshots

        with telling(f"cannot create machine '{spec.name}'"):
            return self._making(labels, lambda: snapshots.copy(self._engine, spec, source, name, labels))

    def delete_snapshot(self, instance: Instance, name: str) -> None:
        """See `Snapshots`."""
        from envup_docker import snapshots

        with telling(f"cannot delete snapshot '{name}' of machine '{instance.machine}'"):
            snapshots.delete(self._engine, instance, name)

    def export(self, instance: Instance, file: BinaryIO) -> None:
        """See `Export`."""
        from envup_docker import transfer

        with telling(f"cannot pack the files of machine '{instance.machine}'"):
            state = self._inspected(instance)["State"]
            with self._paused(instance) if state["Running"] and not state["Paused"] else nullcontext():
                transfer.export(self._engine, self._names.of(instance.labels), file)

    @contextmanager
    def _paused(self, instance: Instance) -> Iterator[None]:
        self.suspend(instance)
        try:
            yield
        finally:
            self.resume(instance)

    def layers(self) -> Sequence[Layer]:
        """See `Layers`."""
        from envup_docker import layers

        with telling("the engine does not list its images"):
            return layers.all_of(self._engine, self._used)

    def keeps_layers(self, spec: MachineSpec) -> bool:
        """See `Layers`. Not what is written to volumes, nor where secrets would stay with a layer."""
        from envup_docker import committing

        if settings.options(spec).get("volumes"):
            return False
        return not (spec.secrets or spec.secret_options) or not committing.leaves_secrets(self.info)

    def keep_layer(self, instance: Instance, key: str, note: Mapping[str, Any]) -> None:
        """See `Layers`."""
        from envup_docker import layers

        found = self._inspected(instance)
        if any(mount["Type"] == "volume" for mount in found["Mounts"]):
            raise EnvupError(f"machine '{instance.machine}' has volumes, and what is in them is in no layer")
        with telling(f"cannot keep the layer {key}"):
            layers.keep(self._engine, self.context.runtime, found, key, note)

    def remove_layer(self, key: str) -> None:
        """See `Layers`."""
        from envup_docker import layers

        with telling(f"cannot remove the layer {key}"):
            layers.remove(self._engine, self._used, key)

    @property
    def _used(self) -> Path:
        """Where the times of use of layers are."""
        return self.context.data / "layers"

    def can_dial(self, instance: Instance) -> bool:
        """See `Dial`. Not on another host, nor without the right to enter the container's network, which is root's or
        that of who runs the engine."""
        from envup_docker import dialling

        return self.is_local and dialling.way(self._inspected(instance)) is not None

    def dial(self, instance: Instance, port: int, *, timeout: float = 10.0) -> socket.socket:
        """See `Dial`. A service may listen on the machine's address alone."""
        from envup_docker import dialling

        return dialling.dial(self._inspected(instance), instance, port, timeout)

    def _inspected(self, instance: Instance) -> Mapping[str, Any]:
        with telling(f"the engine does not describe machine '{instance.machine}'"):
            return containers.look(self._engine, self._names.of(instance.labels))

    def forms(self) -> Sequence[tuple[str, int]]:
        """See `ImageForms`."""
        from envup_docker import images

        with telling("the engine does not list its images"):
            return images.forms(self._engine)

    def remove_form(self, digest: str) -> None:
        """See `ImageForms`."""
        from envup_docker import images

        with telling(f"cannot remove the image {digest}"):
            images.remove(self._engine, digest)

    def obtain(self, reference: ImageReference, emit: Emit, *, refresh: bool = False) -> Image:
        """See `OwnImages`."""
        from envup_docker import obtaining

        return obtaining.obtain(self._engine, self.context.data, reference, emit, refresh=refresh)

    def find(self, reference: ImageReference) -> Image | None:
        """See `OwnImages`."""
        from envup_docker import obtaining

        return obtaining.find(self._engine, reference)

    @cached_property
    def _endpoint(self) -> endpoint.Endpoint:
        with telling("there is no Docker engine"):
            return endpoint.find(os.environ)

    @cached_property
    def _engine(self) -> Engine:
        return Engine(self._endpoint)

    @property
    def where(self) -> str:
        """The engine's address."""
        return str(self._endpoint)

    @property
    def is_local(self) -> bool:
        """Whether the engine sees this host's files."""
        return self._endpoint.local

    @cached_property
    def info(self) -> Mapping[str, object]:
        """What the engine says of itself and its host; asked once."""
        with telling("the engine does not say what it can"):
            found: Mapping[str, object] = self._engine.call("GET", "/info")
            return found

    def _freeze(self, instance: Instance, verb: str) -> None:
        try:
            self._engine.call("POST", f"/containers/{self._names.of(instance.labels)}/{verb}")
        except EngineError as error:
            if "already paused" not in error.message and "not paused" not in error.message:
                raise told(error, f"cannot {verb} machine '{instance.machine}'") from error

    @cached_property
    def _names(self) -> containers.Names:
        return containers.Names()

    def _seen(self, found: Sequence[Mapping[str, Any]]) -> list[Instance]:
        self._names.note(found)
        return containers.seen(found)

    def _present(self, labels: Mapping[str, str]) -> Instance:
        with telling("the engine does not list its containers"):
            for instance in self._seen(containers.of_machine(self._engine, labels)):
                return instance
        raise EnvupError(f"machine '{labels['envup.machine']}' vanished while it was worked on")

    def _complain(self, instance: Instance) -> None:
        import subprocess

        host = self.console(instance)
        said = subprocess.run(host.argv, capture_output=True, text=True, errors="replace", check=False).stdout
        raise TransportError(
            f"machine '{instance.machine}' stopped as soon as it was started",
            details="\n".join(said.splitlines()[-20:]),
            hint="its first program ended; `docker: {command: init}` has one that stays",
        )
