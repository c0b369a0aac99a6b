"""What a machine may ask for that LXC cannot give here, found before anything is changed."""

from __future__ import annotations

from collections.abc import Iterator

from envup.namespaces import checks
from envup.networks import network
from envup.provider import MachineSpec
from envup_lxc import inits, settings


def reasons(spec: MachineSpec, *, rootless: bool) -> list[str]:
    """One sentence each, naming the key; empty when the machine can be made."""
    return [
        *_image(spec),
        *network.reasons(spec, settings.NAME, rootless=rootless),
        *checks.limits(spec, rootless=rootless),
        *_disk(spec, rootless),
        *checks.mounts(spec, kept=("proc", "sys", "dev")),
        *checks.texts(spec),
        *_init(spec),
    ]


def _image(spec: MachineSpec) -> Iterator[str]:
    if spec.image.source == "disk":
        yield "image: a whole disk needs a virtual machine; use provider kvm"
    if spec.image.source == "host":
        yield "image: host is this very system, whose files a container does not get; use provider chroot"


def _disk(spec: MachineSpec, rootless: bool) -> Iterator[str]:
    if rootless and spec.resources.disk is not None:
        yield "resources.disk: a disk limit needs root; run as root or leave it out"
    else:
        yield from checks.disk(spec)


def _init(spec: MachineSpec) -> Iterator[str]:
    if settings.init(spec) != "image" and not inits.has_small():
        here = inits.architecture()
        yield f"lxc.init: there is no small init for {here}; use an image with an init and lxc.init: image"
