"""A machine's files as an image: its root file system, or of one that boots by itself its disk."""

from __future__ import annotations

import shutil
from typing import Any, BinaryIO

from envup.events import Emit
from envup.namespaces import exporting, layers, programs
from envup_kvm import asking, keeping, remote
from envup_kvm.machines import DISK, Machine

_COPY = "copying"
"""Of the disk, below the machine's directory."""


def export(libvirtd: Any, machine: Machine, file: BinaryIO, emit: Emit, *, whole: bool) -> None:
    """See `Export`; the machine is locked. `whole`: the disk rather than the file system on it. Errors: `EnvupError`,
    `OSError`."""
    name = machine.labels["envup.machine"]
    remote.refuse(machine, "export")
    if machine.state(libvirtd) == "running":
        asking.flush(machine.place, name)
    copy = machine.directory / _COPY
    programs.remove(copy)
    copy.mkdir(mode=0o700)
    try:
        with keeping.standing_still(libvirtd, machine):
            layers.copy(machine.directory / DISK, copy / DISK)
        kind, made = ("qcow2", copy / "whole.qcow2") if whole else ("raw", copy / "disk.img")
        line = ("qemu-img", "convert", "-q", "-f", "qcow2", "-O", kind, str(copy / DISK), str(made))
        programs.run(line, f"cannot pack the disk of machine '{name}'")
        (copy / DISK).unlink()
        if whole:
            with made.open("rb") as source:
                shutil.copyfileobj(source, file)
            file.flush()
        else:
            exporting.pack(copy, (), file, name, emit)
    finally:
        programs.remove(copy)
