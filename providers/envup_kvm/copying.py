"""Making a machine whose disk begins as that of another was in a snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envup.errors import EnvupError
from envup.image import Image
from envup.namespaces import directories, layers, programs
from envup.provider import MachineSpec
from envup_kvm import disk_images, disks, extra_disks, making, owners, remote, snapshot_files
from envup_kvm.disks import Disks
from envup_kvm.machines import DISK, Machine


def make(
    libvirtd: Any, origin: Machine, known: Mapping[str, Any], name: str, machine: Machine, spec: MachineSpec
) -> None:
    """See `Snapshots.copy_snapshot`; `origin`, of which `known` are the facts, is locked. Errors: `EnvupError`."""
    source = origin.labels["envup.machine"]
    remote.refuse(origin, "snapshots")
    kept = snapshot_files.require(origin.directory, name, source)
    if kept.disks != (DISK,):
        brief = f"snapshot '{name}' of machine '{source}' has further disks, and only that with the system is copied"
        raise EnvupError(brief, hint=f"take one of a machine without `kvm.disks`, or make '{spec.name}' from its image")
    images, keys = Disks(machine.data), known.get("layers", ())
    base, between = images.path(known["image"]), layers.stack(machine.data, keys, DISK)
    images.admit(owners.qemu(libvirtd))

    def fill() -> dict[str, Any]:
        facts = making.fill(machine, spec, Image(known["image"], None), base, between)
        below, kind = (between[0], "qcow2") if between else (base, disk_images.kind(base))
        chosen = ("-l", f"snapshot.name={snapshot_files.inside(name)}")
        # but for `-t`, it would end before the copy is on the disk
        over = ("-t", "writeback", "-f", "qcow2", "-O", "qcow2", "-B", str(below), "-F", kind)
        line = ("qemu-img", "convert", "-q", "-U", *chosen, *over, str(origin.directory / DISK))
        programs.run((*line, str(machine.directory / DISK)), f"cannot copy snapshot '{name}' of machine '{source}'")
        if extra_disks.virtual_size(machine.directory / DISK) > disks.wanted(base, spec.resources.disk):
            raise EnvupError(f"resources.disk: the disk in snapshot '{name}' of machine '{source}' is larger")
        (machine.directory / DISK).chmod(0o600)
        return {**facts, "layers": keys, "copied": True}

    directories.make(machine.directory, fill)
