"""What a machine may ask for that no machine in namespaces can have here, found before anything is changed: one
sentence each, naming the key."""

from __future__ import annotations

import os
from collections.abc import Iterator

from envup.namespaces import cgroups
from envup.provider import MachineSpec

_LONGEST_HOST_NAME = 64
_LEAST_DISK = 16 << 20


def limits(spec: MachineSpec, *, rootless: bool) -> Iterator[str]:
    """Limits whose controllers this user has not."""
    wanted = cgroups.needed(spec.resources)
    if not wanted:
        return
    known = cgroups.places(rootless=rootless)
    keys = {"cpu": "cpus"}
    for controller in wanted:
        if controller not in known:
            why, remedy = cgroups.missing(controller, rootless=rootless)
            yield f"resources.{keys.get(controller, controller)}: {why}; {remedy}"


def mounts(spec: MachineSpec, kept: tuple[str, ...] = ("proc", "sys")) -> Iterator[str]:
    """Mounts without a source, or over what the machine makes itself: / and the directories `kept`."""
    for mount in spec.mounts:
        top = os.path.normpath(mount.target).strip("/").split("/")[0]
        if top in ("", *kept):
            yield f"mounts: nothing can be mounted at {mount.target} of a machine"
        if not mount.source.exists():
            yield f"mounts: {mount.source} does not exist"


def texts(spec: MachineSpec) -> Iterator[str]:
    """A name or variables that Linux does not take."""
    name = spec.hostname or spec.name
    if len(name.encode()) > _LONGEST_HOST_NAME:
        yield f"hostname: longer than the {_LONGEST_HOST_NAME} bytes that Linux takes"
    for key, value in spec.environment.items():
        if "\0" in value:
            yield f"environment.{key}: contains a zero byte"


def disk(spec: MachineSpec) -> Iterator[str]:
    """A disk that no file system fits on."""
    if spec.resources.disk is not None and spec.resources.disk < _LEAST_DISK:
        yield f"resources.disk: less than {_LEAST_DISK >> 20}MiB holds no file system"
