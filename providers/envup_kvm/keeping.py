"""Layers of machines: copies of their own disks, which those of others are laid over."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from envup.errors import EnvupError
from envup.events import Emit, Event
from envup.namespaces import directories, layers
from envup.namespaces.layers import LayerStore
from envup.provider import MachineSpec, options_of
from envup_kvm import asking, connection, disks, memories, owners, shares_moving, started
from envup_kvm.machines import DISK, MEMORY_NOTE, Machine

_PATIENCE = 60.0
"""Seconds in which a machine that stood still answers."""
_APART = ("disks", "tpm", "firmware")
"""Options by which a machine has more that outlives it than the one disk."""


def can_be_kept(spec: MachineSpec) -> bool:
    """Whether what steps leave in a machine declared so is all on its root disk, of a size that others have too."""
    options = options_of(spec, "kvm")
    apart = any(options.get(name) for name in _APART) or connection.is_apart(connection.of(spec))
    return not apart and spec.resources.disk is None and spec.image.source != "disk"


def keep(
    libvirtd: Any,
    machine: Machine,
    store: LayerStore,
    key: str,
    note: Mapping[str, Any],
    emit: Emit | None = None,
) -> None:
    """Keep the disk of a machine, which is locked; with `emit`, which is told where it cannot be, also the memory of
    one that runs. Errors: `EnvupError`."""
    known = directories.read(f"{machine.directory}/{directories.MACHINE}") or {}

    def fill(new: Path) -> None:
        disks.admit(store.directory, owners.qemu(libvirtd))
        new.chmod(0o711)
        with _ready_to_save(libvirtd, machine, emit) as saves, standing_still(libvirtd, machine):
            if saves:
                _save(libvirtd, machine, new, emit)
            layers.copy(machine.directory / DISK, new / DISK)
        os.chown(new / DISK, os.geteuid(), os.getegid())
        (new / DISK).chmod(0o644)

    store.keep(key, known.get("layers", ()), note, fill)


@contextmanager
def _ready_to_save(libvirtd: Any, machine: Machine, emit: Emit | None) -> Iterator[bool]:
    """Whether the memory is wanted and can be saved; the mounts are out meanwhile then. Errors: `EnvupError`."""
    if emit is None or machine.state(libvirtd) != "running":
        yield False
        return
    spec, _facts = started.read(machine)
    if not memories.wanted(spec):
        yield False
        return
    with ExitStack() as stack:
        stack.callback(_wake, machine, spec.name)
        try:
            stack.enter_context(shares_moving.without_mounts(libvirtd, machine, spec, "running"))
        except EnvupError as error:
            _tell(emit, spec.name, error)
            yield False
            return
        yield True


def _wake(machine: Machine, name: str) -> None:
    with shares_moving.back_again(name):
        asking.wake(machine.place, name, seconds=_PATIENCE)


def _save(libvirtd: Any, machine: Machine, new: Path, emit: Emit | None) -> None:
    """Without its memory a layer is as good as most. Errors: `OSError`."""
    try:
        memories.save(libvirtd, machine, new)
    except EnvupError as error:
        for name in (memories.FILE, MEMORY_NOTE):
            (new / name).unlink(missing_ok=True)
        _tell(emit, machine.labels["envup.machine"], error)


def _tell(emit: Emit | None, machine: str, error: EnvupError) -> None:
    if emit is not None:
        emit(Event("progress", machine=machine, text=f"its memory is not kept: {error.in_a_line()}"))


@contextmanager
def standing_still(libvirtd: Any, machine: Machine) -> Iterator[None]:
    """The processors of a machine paused, if they run: QEMU then brings all of the disk to its file. Errors:
    `EnvupError`; `TransportError` where they do not go on."""
    domain, name = machine.domain(libvirtd), machine.labels["envup.machine"]
    if domain is None or machine.state(libvirtd) != "running":
        yield
        return
    with connection.telling(f"cannot pause machine '{name}'"):
        domain.suspend()
    try:
        yield
    finally:
        with shares_moving.back_again(name), connection.telling(f"machine '{name}' does not go on"):
            domain.resume()
