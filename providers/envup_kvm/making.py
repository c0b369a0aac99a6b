"""Making a machine: what is in its directory, and its domain."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from envup.errors import EnvupError
from envup.image import Image
from envup.provider import MachineSpec, options_of
from envup_kvm import connection, disk_images, disks, domains, places, starting
from envup_kvm.kits import Kit
from envup_kvm.machines import CONSOLE, DISK, Machine

_ARCHITECTURES = {"x86_64": ("amd64", "i386"), "aarch64": ("arm64", "armhf")}
"""Debian's names of what a kernel for this processor runs."""


def refuse_foreign(image: Image) -> None:
    """Errors: `EnvupError` where this host's processor does not run the image's programs."""
    here = os.uname().machine
    if image.architecture and image.architecture not in _ARCHITECTURES.get(here, ()):
        raise EnvupError(
            f"the image is for {image.architecture}, and this host's processor is {here}",
            hint="name an image of this architecture",
        )


def fill(machine: Machine, spec: MachineSpec, image: Image, base: Path, layers: Sequence[Path]) -> dict[str, Any]:
    """Make disk, keys and an empty console log; the facts of the machine. The account that QEMU runs as reaches the
    disk by directories that it cannot list. Errors: `EnvupError`, `OSError`."""
    for directory in (machine.directory.parent, machine.directory):
        directory.chmod(0o711)
    (machine.directory / CONSOLE).touch(mode=0o600)
    size = disks.wanted(base, spec.resources.disk)
    below, kind = (layers[0], "qcow2") if layers else (base, disk_images.kind(base))
    disks.lay_over(below, kind, machine.directory / DISK, size)
    places.make_keys(machine.directory)
    pool = options_of(spec, "kvm").get("pool", "default")
    return {"labels": dict(machine.labels), "image": image.digest, "uri": connection.of(spec), "pool": pool}


def define(libvirtd: Any, machine: Machine, known: Mapping[str, Any], spec: MachineSpec, kit: Kit) -> None:
    """Have libvirt know it, with its labels. Each start describes it anew. Errors: `EnvupError`."""
    with connection.telling(f"cannot create machine '{spec.name}'"):
        libvirtd.defineXML(domains.describe(spec, starting.parts(machine, known, spec, kit, accelerated=False)))
