"""The chroot provider: what it adds to those whose machines live in namespaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from envup import namespaces
from envup.image import Image
from envup.namespaces import directories, records
from envup.namespaces.provider import NamespaceProvider
from envup.provider import Check, Dial, Instance, MachineSpec, Resize
from envup_chroot import seeing

if TYPE_CHECKING:
    import socket


class ChrootProvider(NamespaceProvider, Resize, Dial):
    """Machines as copy-on-write directory trees with processes, mounts and users of their own, on the host's
    network."""

    name: ClassVar[str] = "chroot"
    isolation: ClassVar[str] = "filesystem"
    modes: ClassVar[frozenset[str]] = frozenset({"root", "rootless"})
    touches: ClassVar[Mapping[str, str]] = {"resources.disk": "restart"}
    facts: ClassVar[frozenset[str]] = seeing.FACTS

    def doctor(self) -> Sequence[Check]:
        """See `Provider`."""
        from envup_chroot import doctor

        return doctor.examine(self.context.data, rootless=self.rootless)

    def check(self, spec: MachineSpec) -> Sequence[str]:
        """See `Provider`."""
        from envup_chroot import checks

        return checks.reasons(spec, rootless=self.rootless)

    def look(self, _directory: str, facts: Mapping[str, Any], run: Mapping[str, Any] | None, boot: str) -> Instance:
        """See `NamespaceProvider`."""
        return seeing.look(_directory, facts, run, boot)

    def fill(self, directory: Path, tree: Path, spec: MachineSpec, image: Image) -> Mapping[str, Any]:
        """See `NamespaceProvider`."""
        from envup_chroot import making

        return making.fill(directory, tree, spec, image)

    def launch(
        self, directory: Path, lock: int, trees: Sequence[Path], facts: Mapping[str, Any], spec: MachineSpec
    ) -> None:
        """See `NamespaceProvider`."""
        from envup.namespaces import cgroups, disk_images, listening
        from envup_chroot import holding

        listening.refuse_taken(spec.ports)
        if facts["disk"] and spec.resources.disk is not None:
            disk_images.grow_image(directory / "disk.img", spec.resources.disk)
        groups = cgroups.make(self.group(directory), spec.resources, rootless=self.rootless)
        holding.start(directory, lock, facts, spec, trees, groups, hidden=self._own(facts))

    def end(self, directory: Path, run: Mapping[str, Any] | None, grace: float) -> None:
        """See `NamespaceProvider`."""
        from envup.namespaces import cgroups, ending

        if run is not None and records.is_alive(run, records.boot()):
            ending.end(run, grace)
        recorded = run["cgroups"] if run is not None else []
        cgroups.remove({*recorded, *cgroups.groups_of(self.group(directory), rootless=self.rootless)})

    def keeps_layers(self, spec: MachineSpec) -> bool:
        """See `Layers`."""
        from envup_chroot import making, settings

        kept = super().keeps_layers(spec) and settings.tmpfs(spec) is None
        return kept and making.can_layer(self.context.data)

    def way(self, run: Mapping[str, Any]) -> namespaces.Way:
        """See `NamespaceProvider`."""
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

    def resize(self, instance: Instance, spec: MachineSpec) -> None:
        """See `Resize`. PID 1 is in no group, see `holder`."""
        from envup.namespaces import limits

        directory = self.machines.directory(instance.labels)
        with directories.told("resize", directory), directories.held(directory):
            run, group = self.running(instance), self.group(directory)
            limits.resize(directory, run, group, spec.resources, rootless=self.rootless, spared={run["pid"]})

    def dial(self, instance: Instance, port: int, *, timeout: float = 10.0) -> socket.socket:
        """See `Dial`."""
        return namespaces.dial(self.entrance(instance), port, machine=instance.machine, timeout=timeout)

    def _own(self, facts: Mapping[str, Any]) -> list[str]:
        """envup's own directories, which a machine made from the host's system must not see."""
        return [str(self.context.data.parent), str(self.context.runtime)] if facts["image"] == "host" else []
