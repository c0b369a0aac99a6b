"""The chroot provider: the verbs, put together from the modules beside it."""

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
    HostCommand,
    ImageForms,
    Instance,
    MachineSpec,
    Provider,
    ProviderContext,
    Resize,
)
from envup_chroot import seeing

if TYPE_CHECKING:
    from envup.namespaces.trees import Trees


class ChrootProvider(Provider, Resize, ImageForms):
    """Machines as copy-on-write directory trees with processes, mounts and users of their own, on the host's
    network."""

    name: ClassVar[str] = "chroot"
    isolation: ClassVar[str] = "filesystem"
    modes: ClassVar[frozenset[str]] = frozenset({"root", "rootless"})
    touches: ClassVar[Mapping[str, str]] = {"resources.disk": "restart"}

    def __init__(self, context: ProviderContext) -> None:
        super().__init__(context)
        self._machines = Directories(context.data, seeing.look, seeing.FACTS)
        self._rootless = os.geteuid() != 0

    def doctor(self) -> Sequence[Check]:
        """See `Provider`."""
        from envup_chroot import doctor

        return doctor.examine(self.context.data, rootless=self._rootless)

    def check(self, spec: MachineSpec) -> Sequence[str]:
        """See `Provider`."""
        from envup_chroot import checks

        return checks.reasons(spec, rootless=self._rootless)

    def observe(self, environment: str | None) -> Sequence[Instance]:
        """See `Provider`."""
        return self._machines.observe(environment)

    def create(self, spec: MachineSpec, image: Image, labels: Mapping[str, str]) -> Instance:
        """See `Provider`."""
        from envup_chroot import making

        directory = self._machines.directory(labels)
        with self._trees().use(image) as tree:
            directories.make(directory, lambda: making.fill(directory, spec, image, tree, labels))
        return self._machines.present(labels)

    def start(self, instance: Instance, spec: MachineSpec) -> Instance:
        """See `Provider`."""
        from envup.namespaces import cgroups, disk_images, ending
        from envup_chroot import holding

        directory = self._machines.directory(instance.labels)
        with directories.held(directory) as lock:
            facts = self._machines.facts(directory)
            run = directories.running(directory)
            if run is not None and run["ready"]:
                return self._machines.present(instance.labels)
            if run is not None:
                ending.end(run, 0)
            tree = self._trees().path(facts["image"])
            if not tree.is_dir():
                raise EnvupError(f"the image of machine '{spec.name}' is gone: {tree}", hint="destroy the machine")
            if facts["disk"] and spec.resources.disk is not None:
                disk_images.grow_image(directory / "disk.img", spec.resources.disk)
            groups = cgroups.make(_group(instance.labels), spec.resources, rootless=self._rootless)
            try:
                holding.start(directory, lock, facts, spec, tree, groups, hidden=self._own(facts))
            except BaseException:
                cgroups.remove(map(str, groups))
                raise
        return self._machines.present(instance.labels)

    def stop(self, instance: Instance, *, grace: float = 10.0) -> None:
        """See `Provider`."""
        directory = self._machines.directory(instance.labels)
        if not directory.is_dir():
            return
        with directories.locked(directory):
            self._end(directory, instance.labels, grace)

    def destroy(self, instance: Instance) -> None:
        """See `Provider`."""
        directory = self._machines.directory(instance.labels)
        self._trees().sweep()
        if not directory.is_dir():
            return
        with directories.locked(directory):
            self._end(directory, instance.labels, 0)
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
        from envup_chroot import resizing

        directory = self._machines.directory(instance.labels)
        with directories.held(directory):
            resizing.resize(directory, _group(instance.labels), spec, rootless=self._rootless)

    def forms(self) -> Sequence[tuple[str, int]]:
        """See `ImageForms`."""
        return self._trees().forms()

    def remove_form(self, digest: str) -> None:
        """See `ImageForms`."""
        with self._trees().removing(digest):
            if user := self._machines.uses(digest):
                raise EnvupError(f"the image {digest} is in use by {user}", hint="destroy that machine first")

    def _end(self, directory: Path, labels: Mapping[str, str], grace: float) -> None:
        """End a machine's processes and remove its control groups, those of a holder that died by itself included."""
        from envup.namespaces import cgroups, ending

        run = directories.read(f"{directory}/{records.FILE}")
        if run is not None and records.is_alive(run, records.boot()):
            ending.end(run, grace)
        recorded = run["cgroups"] if run is not None else []
        cgroups.remove({*recorded, *cgroups.groups_of(_group(labels), rootless=self._rootless)})

    def _way(self, instance: Instance) -> namespaces.Way:
        """The way into a running machine. Errors: `TransportError`."""
        run = directories.running(self._machines.directory(instance.labels))
        if run is None or not run["ready"]:
            raise TransportError(f"machine '{instance.machine}' is not running", hint="run: env up")
        joined = (*(("user",) if run["user_namespace"] else ()), "mnt", "uts", "ipc", "pid")
        return namespaces.Way(
            run["pid"],
            run["start"],
            joined,
            run["capabilities"],
            tuple(run["cgroups"]),
            run["persona"],
            holder=run["pid"],
            holder_start=run["start"],
        )

    def _own(self, facts: Mapping[str, Any]) -> list[str]:
        """envup's own directories, which a machine made from the host's system must not see."""
        return [str(self.context.data.parent), str(self.context.runtime)] if facts["image"] == "host" else []

    def _trees(self) -> Trees:
        from envup.namespaces.trees import Trees

        return Trees(self.context.data)


def _group(labels: Mapping[str, str]) -> str:
    return f"{labels['envup.environment']}-{labels['envup.machine']}"
