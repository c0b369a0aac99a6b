"""What a machine may ask for that an engine cannot give, found before anything is changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envup.provider import MachineSpec
from envup_docker import settings

if TYPE_CHECKING:
    from envup_docker.provider import DockerProvider

LEAST_MEMORY = 6 << 20
"""Bytes; the engine takes no less (moby, daemon/daemon_unix.go, linuxMinMemory)."""
_LONGEST_HOST_NAME = 64
_DRIVERS = ("btrfs", "zfs", "devicemapper")
"""Storage drivers that limit the size of a container wherever they work."""


def reasons(spec: MachineSpec, provider: DockerProvider) -> list[str]:
    """One sentence each, naming the key; empty when the machine can be made. The engine is asked only where limits are
    wanted."""
    return [
        *_image(spec),
        *_limits(spec, provider),
        *_disk(spec, provider),
        *_mounts(spec, provider),
        *_network(spec),
        *_texts(spec),
    ]


def _image(spec: MachineSpec) -> Iterator[str]:
    if spec.image.source == "host":
        yield "image: host is a view of this very system, which no engine has; use provider chroot"
    if spec.image.source == "disk":
        yield "image: a whole disk needs a virtual machine; use provider kvm"


def _limits(spec: MachineSpec, provider: DockerProvider) -> Iterator[str]:
    wanted = {"memory": "MemoryLimit", "cpus": "CpuCfsQuota", "pids": "PidsLimit"}
    for name, ability in wanted.items():
        value = getattr(spec.resources, name)
        if value is not None and not provider.info.get(ability):
            yield (
                f"resources.{name}: the engine at {provider.where} cannot limit it; without root it needs "
                "cgroup version 2 with delegation, or leave the limit out"
            )
    if spec.resources.memory is not None and spec.resources.memory < LEAST_MEMORY:
        yield f"resources.memory: Docker takes no less than {LEAST_MEMORY >> 20}MiB; ask for more"


def _disk(spec: MachineSpec, provider: DockerProvider) -> Iterator[str]:
    if spec.resources.disk is None:
        return
    driver = str(provider.info.get("Driver"))
    status: Any = provider.info.get("DriverStatus") or []
    below = dict(status).get("Backing Filesystem")
    if driver not in _DRIVERS and (driver, below) != ("overlay2", "xfs"):
        yield (
            f"resources.disk: the engine's storage driver {driver} on {below} cannot limit it; keep the engine's data "
            "on btrfs, zfs, or xfs mounted with pquota"
        )


def _mounts(spec: MachineSpec, provider: DockerProvider) -> Iterator[str]:
    if spec.mounts and not provider.is_local:
        yield (
            f"mounts: the engine at {provider.where} does not see this host's files; write `mounts: []` and use "
            "copy steps, or docker.volumes"
        )
        return
    for mount in spec.mounts:
        if mount.target.strip("/").split("/")[0] in ("", "proc", "sys"):
            yield f"mounts: nothing can be mounted at {mount.target} of a machine; choose another target"
        if not Path(mount.source).exists():
            yield f"mounts: {mount.source} does not exist; make it, or leave the mount out"


def _texts(spec: MachineSpec) -> Iterator[str]:
    if len((spec.hostname or spec.name).encode()) > _LONGEST_HOST_NAME:
        yield f"hostname: longer than the {_LONGEST_HOST_NAME} bytes that Linux takes"
    for key, value in spec.environment.items():
        if "\0" in value:
            yield f"environment.{key}: contains a zero byte"


def _network(spec: MachineSpec) -> Iterator[str]:
    mode = settings.options(spec).get("network")
    if "network_aliases" in settings.options(spec) and mode in settings.OWN_NETWORK_MODES:
        yield f"docker.network_aliases: network {mode} knows no names; leave docker.network or the aliases out"
    if spec.ports and mode in ("host", "none"):
        yield f"ports: docker.network {mode} forwards none; leave docker.network or the ports out"
