"""Making the directory of a machine, and removing it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from envup.errors import EnvupError
from envup.image import Image
from envup.provider import MachineSpec
from envup_chroot import disk, programs, records, settings, storage


def make(directory: Path, spec: MachineSpec, image: Image, tree: Path, labels: Mapping[str, str]) -> None:
    """Make a machine's directory; it counts from the moment that `machine.json` is in it. Remains of an interrupted
    attempt are removed first. Errors: `EnvupError` when the machine exists or cannot be made."""
    try:
        _claim(directory)
        with storage.locked(directory):
            _fill(directory, spec, image, tree, labels)
    except OSError as error:
        raise EnvupError(f"cannot make {error.filename or directory}: {error.strerror}") from error


def _claim(directory: Path) -> None:
    while True:
        try:
            directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.mkdir(mode=0o700)
        except FileExistsError:
            _remove_remains(directory)
            continue
        return


def _remove_remains(directory: Path) -> None:
    with contextlib.suppress(FileNotFoundError), storage.locked(directory):
        if (directory / storage.MACHINE).exists():
            raise EnvupError(f"machine '{directory.name.rpartition('.')[2]}' exists already")
        programs.remove(directory)


def _fill(directory: Path, spec: MachineSpec, image: Image, tree: Path, labels: Mapping[str, str]) -> None:
    volatile = settings.tmpfs(spec) is not None
    size = None if volatile else spec.resources.disk
    for name in ("root", "disk", "mask"):
        (directory / name).mkdir(mode=0o700)
    if size is not None:
        _make_disk(directory / "disk.img", size)
    elif not volatile:
        disk.make_layers(str(directory), str(tree))
    facts = {
        "id": os.urandom(16).hex(),
        "labels": dict(labels),
        "image": image.digest,
        "architecture": image.architecture,
        "volatile": volatile,
        "disk": size is not None,
    }
    records.replace(f"{directory}/{storage.MACHINE}", json.dumps(facts))


def _make_disk(file: Path, size: int) -> None:
    with file.open("wb") as stream:
        stream.truncate(size)
    extended = "lazy_itable_init=1,lazy_journal_init=1,nodiscard"
    command = ("mkfs.ext4", "-q", "-F", "-m", "0", "-E", extended, str(file))
    _run_tool(command, f"cannot make a disk of {size >> 20} MiB")


def grow_disk(directory: Path, size: int) -> None:
    """Let a stopped machine's disk have `size` bytes, if that is more than it has."""
    file = directory / "disk.img"
    if file.stat().st_size >= size:
        return
    failure = f"cannot grow a disk to {size >> 20} MiB"
    _run_tool(("e2fsck", "-f", "-y", str(file)), failure, fine=(0, 1))
    os.truncate(file, size)
    _run_tool(("resize2fs", str(file)), failure)


def _run_tool(command: tuple[str, ...], failure: str, *, fine: tuple[int, ...] = (0,)) -> None:
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    programs.run(command, failure, environment={"PATH": path}, fine=fine)


def unmake(directory: Path) -> None:
    """Remove a machine's directory. Cut short, what is left is `broken` and removed the next time."""
    (directory / storage.MACHINE).unlink(missing_ok=True)
    programs.remove(directory)
