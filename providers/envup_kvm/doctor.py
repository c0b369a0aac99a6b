"""What the KVM provider needs on this host."""

from __future__ import annotations

import contextlib
import importlib.util
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from envup.errors import EnvupError
from envup.namespaces import needs, subids
from envup.provider import Check
from envup_kvm import acceleration, virtiofsd

_TOOLS = {
    "qemu-img": "qemu-utils",
    f"qemu-system-{platform.machine()}": "qemu-system",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "tar": "tar",
}

_LEAST_QEMU = 7_002_000


def examine(data: Path, *, rootless: bool) -> list[Check]:
    """Every need, met or not."""
    found = [needs.tool(program, package) for program, package in _TOOLS.items()]
    found += [_maker(), virtiofsd.need(), acceleration.need(data)]
    if rootless:
        found += [needs.tool("newuidmap", "uidmap"), needs.tool("newgidmap", "uidmap")]
        found.append(needs.subordinate_ids(subids.maps))
    return [*found, *_libvirt()]


def _maker() -> Check:
    if shutil.which("mke2fs") or shutil.which("/sbin/mke2fs"):
        return Check("mke2fs", True)
    return Check("mke2fs", False, "the program mke2fs is missing", "apt-get install e2fsprogs")


def _libvirt() -> Iterator[Check]:
    if importlib.util.find_spec("libvirt") is None:
        yield Check("python package libvirt", False, "it is missing", "pip install 'envup[kvm]'")
        return
    from envup_kvm import connection

    try:
        libvirtd = connection.connect(connection.default())
        with connection.telling("libvirt does not tell its hypervisor"), contextlib.closing(libvirtd):
            version = libvirtd.getVersion()
    except EnvupError as error:
        yield Check("libvirt", False, f"{error.brief}: {error.details}", error.hint)
        return
    yield Check("libvirt", True, connection.default())
    yield _qemu(version)


def _qemu(version: int) -> Check:
    """Before 7.2 it has no network device `stream`, by which machines are plugged in. The parts of a version have three
    digits each."""
    if version >= _LEAST_QEMU:
        return Check("qemu", True)
    told = f"QEMU is {version // 10**6}.{version // 1000 % 1000}, and machines need 7.2 for their network"
    return Check("qemu", False, told, "upgrade to Debian 12, Ubuntu 23.04 or later, or install a later QEMU")
