"""What a machine may ask for that this provider cannot give, found before anything is changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from envup.namespaces import checks
from envup.provider import MachineSpec, options_of
from envup_kvm import connection, extra_disks, network, remote, shares
from envup_kvm.domains import LEAST_MEMORY

_LEAST_DISK = 16 << 20
"""Bytes that boots write."""


def reasons(spec: MachineSpec) -> list[str]:
    """One sentence each, naming the key; empty when the machine can be made."""
    own = extra_disks.reasons(options_of(spec, "kvm"))
    return [
        *_image(spec),
        *_limits(spec),
        *_network(spec),
        *remote.reasons(spec),
        *shares.reasons(spec),
        *own,
        *checks.texts(spec),
    ]


def _image(spec: MachineSpec) -> Iterator[str]:
    if spec.image.source == "host":
        yield "image: host is a view of this very system, which no virtual machine has; use provider chroot"
    if spec.image.source != "disk":
        return
    if shutil.which("xorriso") is None:
        yield "image: a disk image needs the program xorriso on this host; install the package xorriso"
    if options_of(spec, "kvm").get("init", "auto") != "auto":
        yield "kvm.init: a disk image boots with its own init; leave it out"


def _network(spec: MachineSpec) -> Iterator[str]:
    return network.reasons(spec, rootless=os.geteuid() != 0)


def _limits(spec: MachineSpec) -> Iterator[str]:
    resources = spec.resources
    if resources.memory is not None and resources.memory < LEAST_MEMORY:
        yield f"resources.memory: a virtual machine has a kernel of its own and needs {LEAST_MEMORY >> 20}MiB"
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if resources.memory is not None and resources.memory > total and not connection.is_apart(connection.of(spec)):
        yield f"resources.memory: this host has {total >> 20}MiB"
    if resources.cpus is not None and resources.cpus != int(resources.cpus):
        yield "resources.cpus: provider kvm gives whole processors; write a whole number"
    if resources.pids is not None:
        yield "resources.pids: provider kvm cannot limit the processes of a machine; use provider lxc or docker"
    if resources.disk is not None and resources.disk < _LEAST_DISK:
        yield f"resources.disk: a virtual machine needs {_LEAST_DISK >> 20}MiB"
