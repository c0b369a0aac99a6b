"""Making a machine: what is in its directory, and its domain."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envup.image import Image
from envup.provider import MachineSpec, options_of
from envup_kvm import connection, disks, domains, places, starting
from envup_kvm.kits import Kit
from envup_kvm.machines import CONSOLE, DISK, Machine


def fill(machine: Machine, spec: MachineSpec, image: Image, base: Path) -> dict[str, Any]:
    """Make disk, keys and an empty console log; the facts of the machine. The account that QEMU runs as reaches the
    disk by directories that it cannot list. Errors: `EnvupError`, `OSError`."""
    for directory in (machine.directory.parent, machine.directory):
        directory.chmod(0o711)
    (machine.directory / CONSOLE).touch(mode=0o600)
    disks.lay_over(base, machine.directory / DISK, disks.wanted(base, spec.resources.disk))
    places.make_keys(machine.directory)
    pool = options_of(spec, "kvm").get("pool", "default")
    return {"labels": dict(machine.labels), "image": image.digest, "uri": connection.of(spec), "pool": pool}


def define(libvirtd: Any, machine: Machine, known: Mapping[str, Any], spec: MachineSpec, kit: Kit) -> None:
    """Have libvirt know it, with its labels. Each start describes it anew. Errors: `EnvupError`."""
    with connection.telling(f"cannot create machine '{spec.name}'"):
        libvirtd.defineXML(domains.describe(spec, starting.parts(machine, known, spec, kit, accelerated=False)))
