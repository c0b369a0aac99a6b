"""Disk images: whole disks that boot by themselves, kept as they were given beside the disks made from root file
systems.

    images/<digest>.qcow2, <digest>.raw   what machines' own disks are laid over; the ending is the format
    images/known/<key>.json               the digest that a reference stood for
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import struct
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from envup.errors import EnvupError
from envup.events import Emit, Event
from envup.image import FetchContext, Image, fetch_file, file_key
from envup.namespaces import programs, records

_FORMATS = {".qcow2": "qcow2", ".raw": "raw", ".ext4": "raw"}
_QCOW2 = b"QFI\xfb"
_EXTERNAL_DATA = 1 << 2
"""An incompatible feature, see docs/interop/qcow2.txt of QEMU: the content is in another file."""
_BOOT_SIGNATURE = slice(510, 512), b"\x55\xaa"
"""Of a master boot record, which protects a GUID partition table too."""


def find(directory: Path, name: str) -> Path | None:
    """The disk image with this digest."""
    paths = (directory / f"{name}{suffix}" for suffix in (".qcow2", ".raw"))
    return next((path for path in paths if path.exists()), None)


def every(directory: Path) -> Iterator[Path]:
    """All disk images."""
    yield from directory.glob("*.qcow2")
    yield from directory.glob("*.raw")


def boots(base: Path) -> bool:
    """Whether it is a disk image rather than a file system that needs a kernel of the kit."""
    return base.suffix != ".ext4"


def kind(base: Path) -> str:
    """The format of what a machine's disk is laid over."""
    return _FORMATS[base.suffix]


def size(base: Path) -> int:
    """Bytes of the disk that it is to a machine. Errors: `EnvupError`."""
    line = ("qemu-img", "info", "-f", kind(base), "--output=json", str(base))
    done = subprocess.run(line, check=False, capture_output=True, text=True)
    if done.returncode:
        raise EnvupError(f"the disk image {base.name} is damaged", details=done.stderr.strip())
    return int(json.loads(done.stdout)["virtual-size"])


def obtain(directory: Path, options: Mapping[str, Any], emit: Emit, *, refresh: bool) -> Image:
    """See `Disks.obtain`. Of several commands that want the same one takes it in, and the others wait."""
    (directory / "known").mkdir(exist_ok=True)
    known = directory / "known" / f"{_key(options)}.json"
    with known.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not refresh and known.exists():
            name = json.loads(known.read_bytes())["digest"]
            if find(directory, name) is not None:
                return Image(f"sha256:{name}", None)
        emit(Event("progress", text="takes in the disk image"))
        name = _take_in(directory, directory / f".disk.{known.stem}", options, emit)
        records.replace(str(known), json.dumps({"digest": name}))
    return Image(f"sha256:{name}", None)


def _take_in(directory: Path, work: Path, options: Mapping[str, Any], emit: Emit) -> str:
    """Fetch and keep it; its digest."""
    programs.remove(work)
    try:
        work.mkdir(mode=0o700)
        fetch_file("disk", options, work / "disk", FetchContext(work, emit))
        return _keep(directory, work / "disk", str(options["disk"]))
    except OSError as error:
        raise EnvupError(f"image disk {options['disk']}: {error.strerror or error}") from error
    finally:
        programs.remove(work)


def _key(options: Mapping[str, Any]) -> str:
    told = [options["disk"], options.get("sha256"), file_key("disk", options)]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _keep(directory: Path, new: Path, location: str) -> str:
    """Put a file under its digest, which is returned."""
    with new.open("rb") as file:
        suffix = _suffix(file.read(1 << 12), location)
        file.seek(0)
        name = hashlib.file_digest(file, "sha256").hexdigest()
    if suffix == ".raw":
        # Saves space where the file system has holes; where not, the exit code is 1 and nothing is lost.
        programs.run(("fallocate", "--dig-holes", str(new)), f"cannot keep {location}", fine=(0, 1))
    kept = new.rename(new.with_suffix(suffix))
    size(kept)
    kept.chmod(0o644)
    kept.rename(directory / f"{name}{suffix}")
    return name


def _suffix(head: bytes, location: str) -> str:
    """That of the format. QEMU itself is not asked: it would follow what a file of a stranger's refers to."""
    place, signature = _BOOT_SIGNATURE
    if head.startswith(_QCOW2) and len(head) >= place.stop:
        backing, incompatible = struct.unpack_from(">Q", head, 8)[0], struct.unpack_from(">Q", head, 72)[0]
        if backing or (struct.unpack_from(">I", head, 4)[0] >= 3 and incompatible & _EXTERNAL_DATA):
            raise EnvupError(
                f"image disk {location}: it needs another file, which could be any of this host",
                hint="make it whole: qemu-img convert -O qcow2 IMAGE WHOLE.qcow2",
            )
        return ".qcow2"
    if head[place] != signature:
        raise EnvupError(
            f"image disk {location}: it is neither a qcow2 image nor a disk with a boot record",
            hint="convert other formats: qemu-img convert -O qcow2 IMAGE WHOLE.qcow2",
        )
    return ".raw"
