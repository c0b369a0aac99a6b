"""The chroot provider: the verbs, put together from the modules beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from envup.errors import EnvupError, TransportError
from envup.image import Image
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
from envup_chroot import programs, records, storage
from envup_chroot.storage import Storage
from envup_chroot.variables import packed

if TYPE_CHECKING:
    from envup_chroot.trees import Trees


class ChrootProvider(Provider, Resize, ImageForms):
    """Machines as copy-on-write directory trees with processes, mounts and users of their own, on the host's
    network."""

    name: ClassVar[str] = "chroot"
    isolation: ClassVar[str] = "filesystem"
    modes: ClassVar[frozenset[str]] = frozenset({"root", "rootless"})
    touches: ClassVar[Mapping[str, str]] = {"resources.disk": "restart"}

    def __init__(self, context: ProviderContext) -> None:
        super().__init__(context)
        self._storage = Storage(context.data)
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
        try:
            return self._storage.observe(environment)
        except OSError as error:
            raise EnvupError(f"cannot read {error.filename}: {error.strerror}") from error

    def create(self, spec: MachineSpec, image: Image, labels: Mapping[str, str]) -> Instance:
        """See `Provider`."""
        from envup_chroot import making

        with self._trees().use(image) as tree:
            making.make(self._storage.directory(labels), spec, image, tree, labels)
        return self._present(labels)

    def start(self, instance: Instance, spec: MachineSpec) -> Instance:
        """See `Provider`."""
        from envup_chroot import cgroups, holding, making

        directory = self._storage.directory(instance.labels)
        with storage.locked(directory) as lock:
            facts = self._facts(directory)
            run = holding.running(directory)
            if run is not None and run["ready"]:
                return self._present(instance.labels)
            if run is not None:
                holding.end(run, 0)
            tree = self._trees().path(facts["image"])
            if not tree.is_dir():
                raise EnvupError(f"the image of machine '{spec.name}' is gone: {tree}", hint="destroy the machine")
            if facts["disk"] and spec.resources.disk is not None:
                making.grow_disk(directory, spec.resources.disk)
            groups = cgroups.make(_group(instance.labels), spec.resources, rootless=self._rootless)
            try:
                holding.start(directory, lock, facts, spec, tree, groups, hidden=self._own(facts))
            except BaseException:
                cgroups.remove(map(str, groups))
                raise
        return self._present(instance.labels)

    def stop(self, instance: Instance, *, grace: float = 10.0) -> None:
        """See `Provider`."""
        directory = self._storage.directory(instance.labels)
        with storage.locked(directory):
            self._end(directory, instance.labels, grace)

    def destroy(self, instance: Instance) -> None:
        """See `Provider`."""
        from envup_chroot import making

        directory = self._storage.directory(instance.labels)
        self._trees().sweep()
        if not directory.is_dir():
            return
        with storage.locked(directory):
            self._end(directory, instance.labels, 0)
            making.unmake(directory)

    def command(self, instance: Instance, command: Command) -> HostCommand:
        """See `Provider`."""
        arguments = [
            *self._way(instance),
            f"user={command.user}",
            f"workdir={command.workdir or ''}",
            f"terminal={int(command.terminal)}",
        ]
        return HostCommand(programs.program("enter", *arguments, "--", *command.argv), packed(command.environment))

    def send(self, instance: Instance, directory: str, archive: BinaryIO) -> None:
        """See `Provider`."""
        self._transfer(
            instance, f"cannot send files to machine '{instance.machine}'", "unpack", directory, stdin=archive
        )

    def fetch(self, instance: Instance, path: str, archive: BinaryIO) -> None:
        """See `Provider`."""
        self._transfer(instance, f"cannot fetch files from machine '{instance.machine}'", "pack", path, stdout=archive)

    def resize(self, instance: Instance, spec: MachineSpec) -> None:
        """See `Resize`."""
        from envup_chroot import resizing

        directory = self._storage.directory(instance.labels)
        with storage.locked(directory):
            resizing.resize(directory, _group(instance.labels), spec, rootless=self._rootless)

    def forms(self) -> Sequence[tuple[str, int]]:
        """See `ImageForms`."""
        return self._trees().forms()

    def remove_form(self, digest: str) -> None:
        """See `ImageForms`."""
        with self._trees().removing(digest):
            if user := self._storage.uses(digest):
                raise EnvupError(f"the image {digest} is in use by {user}", hint="destroy that machine first")

    def _transfer(self, instance: Instance, failure: str, *arguments: str, **streams: BinaryIO) -> None:
        from envup_chroot import transport

        argv = programs.program("transfer", *self._way(instance), "--", *arguments)
        transport.run(argv, failure, self.context.emit, instance.machine, **streams)

    def _end(self, directory: Path, labels: Mapping[str, str], grace: float) -> None:
        """End a machine's processes and remove its control groups, those of a holder that died by itself included."""
        from envup_chroot import cgroups, holding

        run = storage.read(f"{directory}/{records.FILE}")
        if run is not None and storage.is_alive(run, records.boot()):
            holding.end(run, grace)
        recorded = run["cgroups"] if run is not None else []
        cgroups.remove({*recorded, *cgroups.groups_of(_group(labels), rootless=self._rootless)})

    def _way(self, instance: Instance) -> list[str]:
        """Arguments that lead into a running machine; see `joining.Way`. Errors: `TransportError`."""
        run = storage.read(f"{self._storage.directory(instance.labels)}/{records.FILE}")
        if run is None or not run["ready"] or not storage.is_alive(run, records.boot()):
            raise TransportError(f"machine '{instance.machine}' is not running", hint="run: env up")
        kept = ("pid", "start", "persona", "capabilities")
        ways = [*(f"{key}={run[key]}" for key in kept), f"user_namespace={int(run['user_namespace'])}"]
        return [*ways, *(f"cgroup={group}" for group in run["cgroups"])]

    def _facts(self, directory: Path) -> dict[str, Any]:
        facts = storage.read(f"{directory}/{storage.MACHINE}")
        if facts is None:
            raise EnvupError(f"the machine in {directory} is broken", hint="run: env destroy, then env up")
        return facts

    def _present(self, labels: Mapping[str, str]) -> Instance:
        for instance in self.observe(labels["envup.environment"]):
            if instance.machine == labels["envup.machine"]:
                return instance
        raise EnvupError(f"machine '{labels['envup.machine']}' vanished while it was worked on")

    def _own(self, facts: Mapping[str, Any]) -> list[str]:
        """envup's own directories, which a machine made from the host's system must not see."""
        return [str(self.context.data.parent), str(self.context.runtime)] if facts["image"] == "host" else []

    def _trees(self) -> Trees:
        from envup_chroot.trees import Trees

        return Trees(self.context.data)


def _group(labels: Mapping[str, str]) -> str:
    return f"{labels['envup.environment']}-{labels['envup.machine']}"
