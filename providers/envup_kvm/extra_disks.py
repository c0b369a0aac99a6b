"""Further disks of a machine, declared as `kvm: {disks: …}`: made or grown when it starts, removed with it.

One that is no longer declared is kept in the machine's directory and not shown to it.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from envup.errors import EnvupError
from envup.namespaces import programs

_UNITS = {"B": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SECTOR = 512
_RESERVED = "envup-"


def files(options: Mapping[str, Any], directory: Path) -> tuple[tuple[str, Path], ...]:
    """(name, file) of each that is declared. A machine finds it at /dev/disk/by-id/virtio-NAME."""
    return tuple((disk["name"], directory / f"disk-{disk['name']}.qcow2") for disk in options.get("disks", ()))


def reasons(options: Mapping[str, Any]) -> Iterator[str]:
    """Why they cannot be had."""
    names = [disk["name"] for disk in options.get("disks", ())]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"kvm.disks: two disks are called {name}"
    for name in names:
        if name.startswith(_RESERVED):
            yield f"kvm.disks: names that begin with {_RESERVED} are for the machine's own disks; rename {name}"


def prepare(options: Mapping[str, Any], directory: Path) -> None:
    """Make those that are missing and grow those that became larger; the machine does not run. Errors:
    `EnvupError`, also for one that would have to shrink."""
    sizes = [-(-size(disk["size"]) // _SECTOR) * _SECTOR for disk in options.get("disks", ())]
    for (name, file), wanted in zip(files(options, directory), sizes, strict=True):
        has = virtual_size(file) if file.exists() else 0
        if not has:
            new = file.with_suffix(".new")
            line = ("qemu-img", "create", "-q", "-f", "qcow2", str(new), str(wanted))
            programs.run(line, f"cannot make disk {name}")
            new.chmod(0o600)
            new.rename(file)
        elif wanted > has:
            line = ("qemu-img", "resize", "-q", "-f", "qcow2", str(file), str(wanted))
            programs.run(line, f"cannot grow disk {name}")
        elif wanted < has:
            raise EnvupError(
                f"kvm.disks: disk {name} has {has} bytes already and cannot shrink",
                hint="give it another name, or make the machine anew: env up --recreate",
            )


def size(text: str) -> int:
    """Bytes of a size with a unit, which the schema has checked."""
    number, letter, binary = re.fullmatch(r"([0-9.]+) ?([BkKMGT])(i?)B?", text).groups()  # type: ignore[union-attr]
    return int(float(number) * (_BINARY if binary else _UNITS)[letter])


def virtual_size(file: Path) -> int:
    """Bytes that a disk has to a machine. Errors: `EnvupError`."""
    line = ("qemu-img", "info", "-f", "qcow2", "--output=json", str(file))
    try:
        done = subprocess.run(line, check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        raise EnvupError(f"cannot read {file}", details=error.stderr.strip()) from error
    return int(json.loads(done.stdout)["virtual-size"])
