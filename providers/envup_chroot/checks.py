"""What a machine may ask for that a chroot cannot give, found before anything is changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from envup.namespaces import cgroups
from envup.provider import MachineSpec
from envup_chroot import settings

_LEAST_DISK = 16 << 20
_LONGEST_HOST_NAME = 64


def reasons(spec: MachineSpec, *, rootless: bool) -> list[str]:
    """One sentence each, naming the key; empty when the machine can be made."""
    return [
        *_image(spec, rootless),
        *_ports(spec),
        *_limits(spec, rootless),
        *_disk(spec, rootless),
        *_mounts(spec),
        *_texts(spec),
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


def _limits(spec: MachineSpec, rootless: bool) -> Iterator[str]:
    wanted = cgroups.needed(spec.resources)
    if not wanted:
        return
    known = cgroups.places(rootless=rootless)
    keys = {"cpu": "cpus"}
    for controller in wanted:
        if controller not in known:
            why = "is not delegated to this user" if rootless else "is not mounted"
            remedy = (
                "run as root, or where systemd uses cgroup version 2: systemd-run --user --scope -p Delegate=yes env up"
                if rootless
                else "mount it, or leave the limit out"
            )
            yield f"resources.{keys.get(controller, controller)}: the cgroup controller '{controller}' {why}; {remedy}"


def _disk(spec: MachineSpec, rootless: bool) -> Iterator[str]:
    volatile = "tmpfs" in spec.options.get(settings.NAME, {})
    if volatile and rootless and _kernel() < (6, 6):
        yield "chroot.tmpfs: without root it needs Linux 6.6; run as root or leave it out"
    if spec.resources.disk is None or volatile:
        return
    if rootless:
        yield "resources.disk: a disk limit needs root; chroot.tmpfs keeps what the machine writes in memory, limited"
    elif spec.resources.disk < _LEAST_DISK:
        yield f"resources.disk: less than {_LEAST_DISK >> 20}MiB holds no file system"


def _mounts(spec: MachineSpec) -> Iterator[str]:
    for mount in spec.mounts:
        top = os.path.normpath(mount.target).strip("/").split("/")[0]
        if top in ("", "proc", "sys"):
            yield f"mounts: nothing can be mounted at {mount.target} of a machine"
        if not mount.source.exists():
            yield f"mounts: {mount.source} does not exist"


def _texts(spec: MachineSpec) -> Iterator[str]:
    name = spec.hostname or spec.name
    if len(name.encode()) > _LONGEST_HOST_NAME:
        yield f"hostname: longer than the {_LONGEST_HOST_NAME} bytes that Linux takes"
    for key, value in spec.environment.items():
        if "\0" in value:
            yield f"environment.{key}: contains a zero byte"


def _kernel() -> tuple[int, int]:
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(digit for digit in minor if digit.isdigit()))
