"""What a machine may ask for that a chroot cannot give, found before anything is changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from envup.namespaces import checks
from envup.provider import MachineSpec
from envup_chroot import settings


def reasons(spec: MachineSpec, *, rootless: bool) -> list[str]:
    """One sentence each, naming the key; empty when the machine can be made."""
    return [
        *_image(spec, rootless),
        *_ports(spec),
        *checks.limits(spec, rootless=rootless),
        *_disk(spec, rootless),
        *checks.mounts(spec),
        *checks.texts(spec),
    ]


def _image(spec: MachineSpec, rootless: bool) -> Iterator[str]:
    if spec.image.source == "disk":
        yield "image: a whole disk needs a virtual machine; use provider kvm"
    if spec.image.source != "host":
        return
    if rootless:
        yield "image: host needs root: files of other users cannot be given to a user namespace"
    for path in ("/usr", "/etc", "/var"):
        if Path(path).is_mount():
            yield f"image: host needs {path} on the root file system, and here it is one of its own"


def _ports(spec: MachineSpec) -> Iterator[str]:
    for port in spec.ports:
        if port.host_port != port.machine_port or port.address is not None:
            shown = (
                f"{port.address or ''}{':' if port.address else ''}{port.host_port}:{port.machine_port}/{port.protocol}"
            )
            yield (
                f"ports: {shown}: a chroot shares the host's network: ports cannot be remapped; "
                "use provider docker, lxc or kvm"
            )


def _disk(spec: MachineSpec, rootless: bool) -> Iterator[str]:
    volatile = "tmpfs" in spec.options.get(settings.NAME, {})
    if volatile and rootless and _kernel() < (6, 6):
        yield "chroot.tmpfs: without root it needs Linux 6.6; run as root or leave it out"
    if spec.resources.disk is None or volatile:
        return
    if rootless:
        yield "resources.disk: a disk limit needs root; chroot.tmpfs keeps what the machine writes in memory, limited"
    else:
        yield from checks.disk(spec)


def _kernel() -> tuple[int, int]:
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(digit for digit in minor if digit.isdigit()))
