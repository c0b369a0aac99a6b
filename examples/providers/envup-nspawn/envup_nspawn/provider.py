"""The provider `nspawn`: each machine is a systemd-nspawn container on the host's network, with a copy-on-write view of
its image as its root."""

from __future__ import annotations

import json
import marshal
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from envup.image import Image
from envup.namespaces import Way, capabilities, cgroups, checks, disk, ending, needs, programs, records, runtimes
from envup.namespaces.guestfiles import on_host_network
from envup.namespaces.provider import NamespaceProvider
from envup.namespaces.variables import packed
from envup.provider import Check, Console, HostCommand, Instance, MachineSpec, Mount, options_of

_PAYLOAD = 2
"""The program that keeps a machine alive, as the machine numbers it: nspawn's PID 1 ends when it does."""
_TIDYING = 30
"""Seconds that nspawn has to end after its machine."""
_FLAGS = (
    "--quiet --settings=no --register=no --keep-unit --as-pid2 --directory=root --console=read-only "
    "--resolv-conf=off --timezone=off --link-journal=no"
)


class NspawnProvider(NamespaceProvider, Console):
    """See the module."""

    name = "nspawn"
    isolation = "container"
    modes = frozenset({"root"})

    def doctor(self) -> Sequence[Check]:
        tools = [needs.tool("systemd-nspawn", "systemd-container"), needs.tool("tar", "tar")]
        return [*tools, *needs.tried(self.context.data, ("", "")), needs.controllers(rootless=False)]

    def check(self, spec: MachineSpec) -> Sequence[str]:
        return [*checks.limits(spec, rootless=False), *checks.mounts(spec), *checks.texts(spec), *_refused(spec)]

    def fill(self, directory: Path, tree: Path, spec: MachineSpec, image: Image) -> Mapping[str, Any]:
        (directory / "root").mkdir()
        (directory / "console.log").touch()
        disk.make_layers(str(directory), str(tree))
        return {}

    def launch(
        self, directory: Path, lock: int, trees: Sequence[Path], facts: Mapping[str, Any], spec: MachineSpec
    ) -> None:
        groups = [str(group) for group in cgroups.make(self.group(directory), spec.resources, rootless=False)]
        ports = [(port.machine_port, port.host_port, port.address, port.protocol) for port in spec.ports]
        config = {
            "machine": str(directory),
            "trees": [str(tree) for tree in trees],
            "files": on_host_network(spec, first=not (directory / records.FILE).exists()),
            "own_groups": runtimes.groups(self.group(directory)),
            "argv": _command_line(spec),
            "record": json.dumps({"cgroups": groups, "ports": ports})[1:-1],
        }
        line = programs.program("launch", directory=os.path.dirname(__file__))
        variables = {"SYSTEMD_NSPAWN_TMPFS_TMP": "0", **packed(spec.environment)}
        failure = f"machine '{spec.name}' did not start"
        programs.run(line, failure, data=marshal.dumps(config), environment=variables, descriptors=(lock,))

    def end(self, directory: Path, run: Mapping[str, Any] | None, grace: float) -> None:
        if run is not None and run["boot"] == records.boot():
            if run["ready"] and grace > 0:
                machine = directory.name.rpartition(".")[2]
                ending.ask(self.way(run), grace, machine=machine, emit=self.context.emit, spared=(_PAYLOAD,))
            ending.end(run, 0)
            ending.end({"pid": run["nspawn"], "start": run["nspawn_start"]}, _TIDYING, request=0)
        group = self.group(directory)
        cgroups.remove([*cgroups.groups_of(group, rootless=False), *runtimes.groups(group)])

    def way(self, run: Mapping[str, Any]) -> Way:
        holder = {"holder": run["nspawn"], "holder_start": run["nspawn_start"]}
        joined = ("mnt", "uts", "ipc", "pid", "cgroup")
        return Way(run["pid"], run["start"], joined, cgroups=tuple(run["cgroups"]), **holder)

    def console(self, instance: Instance, *, follow: bool = False) -> HostCommand:
        log = self.machines.directory(instance.labels) / "console.log"
        return HostCommand(("tail", "-c", "+1", *(("-f",) if follow else ()), str(log)))


def _refused(spec: MachineSpec) -> Iterator[str]:
    if spec.image.source in ("host", "disk"):
        yield f"image: nspawn makes no machine of the image {spec.image.source}"
    if spec.resources.disk is not None:
        yield "resources.disk: nspawn does not limit it"
    if any(port.address or port.host_port != port.machine_port for port in spec.ports):
        yield "ports: nspawn shares the host's network, so ports cannot be remapped"


def _command_line(spec: MachineSpec) -> list[str]:
    kept = {*capabilities.DEFAULT, *options_of(spec, "nspawn").get("cap_add", ())} - {"MKNOD"}
    dropped = ",".join(f"CAP_{name}" for name in capabilities.NAMES if name not in kept)
    own = [f"--hostname={spec.hostname or spec.name}", f"--drop-capability={dropped}", *map(_bind, spec.mounts)]
    return ["systemd-nspawn", *_FLAGS.split(), *own, "sleep", "infinity"]


def _bind(mount: Mount) -> str:
    source, target = (str(path).replace("\\", "\\\\").replace(":", "\\:") for path in (mount.source, mount.target))
    return f"--bind{'-ro' if mount.read_only else ''}={source}:{target}"
