"""The memory of a machine beside the layer of its last step: machines go on from it rather than boot.

    layers/<key>/memory.img     as libvirt saves a domain, of the moment in which the layer's disk was copied
    layers/<key>/memory.json    `shape`: what a machine that goes on from it has to be like; `facts`: bytes that such a
                                machine is told; `kit`: the directory of its guest kit

libvirt restores a domain under the name and the identity that it was saved with. Each machine gets the memory under a
description of its own instead: `virQEMUSaveHeader` and what follows it, of libvirt's src/qemu/qemu_saveimage.h.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree as xml

from envup.errors import EnvupError
from envup.namespaces import directories, layers
from envup.provider import MachineSpec, options_of
from envup_kvm import connection, fitting, link, started
from envup_kvm.binding import libvirt
from envup_kvm.machines import BEGUN, MEMORY_NOTE, Machine
from envup_kvm.parts import add

FILE = "memory.img"
_MAGIC, _VERSION = b"LibvirtQemudSave", 2
_HEAD = struct.Struct("=16s5I56x")
"""Magic number, version, bytes until the memory, whether it ran, how the memory is compressed, where the cookie is."""
_HARDWARE = re.compile(r"\bmac=[0-9a-f:]+")


def save(libvirtd: Any, machine: Machine, directory: Path) -> None:
    """Keep the memory of a machine that stands still and has no mounts. Errors: `EnvupError`, `OSError`."""
    domain: Any = machine.domain(libvirtd)
    with connection.telling("its memory cannot be saved"):
        saving = xml.Element("domainsnapshot")
        add(saving, "memory", snapshot="external", file=str(directory / FILE))
        disks = add(saving, "disks")
        for target in xml.fromstring(domain.XMLDesc()).iterfind("devices/disk/target"):
            add(disks, "disk", name=target.attrib["dev"], snapshot="no")
        taken = domain.snapshotCreateXML(xml.tostring(saving, encoding="unicode"))
        taken.delete(libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY)
        description = _described(domain)
    shape, (size, _digest) = _shape(libvirtd, machine, description), started.read(machine)[1]
    kernel = xml.fromstring(description).findtext("os/kernel", "")
    note = {"shape": shape, "facts": size, "kit": f"{Path(kernel).parent}/"}
    (directory / FILE).chmod(0o600)
    (directory / MEMORY_NOTE).write_text(json.dumps(note), encoding="utf-8")


def of(machine: Machine, known: Mapping[str, Any], spec: MachineSpec) -> Path | None:
    """The directory of the layer that a machine begins with, if its memory was kept and is wanted, and the machine's
    disk is as that layer has it: a memory fits a disk of its own moment alone."""
    keys = known.get("layers", ())
    if not keys or not wanted(spec) or known.get("copied") or (machine.directory / BEGUN).exists():
        return None
    directory = layers.stack(machine.data, keys[-1:], ".")[0]
    return directory if (directory / MEMORY_NOTE).exists() else None


def wanted(spec: MachineSpec) -> bool:
    """Whether machines declared so go on from memory."""
    return bool(options_of(spec, "kvm").get("keep_memory", True))


def resume(libvirtd: Any, machine: Machine, domain: Any, directory: Path) -> None:
    """Start a machine, which was made ready to boot, from the memory beside a layer. Errors: `EnvupError` where it does
    not fit or is damaged."""
    note = directories.read(f"{directory}/{MEMORY_NOTE}") or {}
    description = _described(domain)
    size, _digest = started.read(machine)[1]
    if note.get("shape") != _shape(libvirtd, machine, description) or note.get("facts") != size:
        raise EnvupError("the memory that was kept is of a machine with other devices, or of another QEMU")
    (machine.place / link.UP).touch(mode=0o600)
    try:
        with _own(machine, directory / FILE, description) as file:
            libvirtd.restoreFlags(str(file), None, libvirt.VIR_DOMAIN_SAVE_RUNNING)
    except OSError as error:
        raise EnvupError(f"{error.filename}: {error.strerror}") from error


def _described(domain: Any) -> str:
    """As it starts, without the device of its mounts, with which QEMU saves no memory. Errors: `libvirtError`."""
    flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_SECURE
    root = xml.fromstring(domain.XMLDesc(flags))
    for devices in root.iterfind("devices"):
        for device in devices.findall("filesystem"):
            devices.remove(device)
    return xml.tostring(root, encoding="unicode")


def _shape(libvirtd: Any, machine: Machine, description: str) -> str:
    """A digest of all that must be the same where a memory is loaded, and of nothing that may differ."""
    root = xml.fromstring(description)
    for tag in ("name", "uuid", "metadata"):
        for element in root.findall(tag):
            root.remove(element)
    for disk in root.iterfind("devices/disk"):
        for below in disk.findall("backingStore"):
            disk.remove(below)
    text = xml.canonicalize(xml.tostring(root, encoding="unicode"), strip_text=True)
    for place, mark in ((machine.directory, "@directory"), (machine.place, "@place")):
        text = text.replace(str(place), mark)
    init = str(options_of(started.read(machine)[0], "kvm").get("init", ""))
    said = (_HARDWARE.sub("mac=", text), init, fitting.hypervisor(libvirtd), fitting.processor(root))
    return hashlib.sha256("\0".join(said).encode()).hexdigest()


@contextmanager
def _own(machine: Machine, memory: Path, description: str) -> Iterator[Path]:
    """The memory under a machine's own description. Errors: `EnvupError`, `OSError`."""
    own = machine.directory / FILE
    own.unlink(missing_ok=True)
    try:
        with memory.open("rb") as source, own.open("xb") as target:
            own.chmod(0o600)
            length, compressed, cookie = _read_head(source, memory)
            text = description.encode() + b"\0"
            data = text + cookie
            target.write(_HEAD.pack(_MAGIC, _VERSION, len(data), 1, compressed, len(text)) + data)
            target.flush()
            _copy(source, target, length)
        yield own
    finally:
        own.unlink(missing_ok=True)


def _read_head(source: IO[bytes], memory: Path) -> tuple[int, int, bytes]:
    """(where the memory begins, how it is compressed, libvirt's cookie). Errors: `EnvupError`."""
    try:
        magic, version, length, _ran, compressed, cookie = _HEAD.unpack(source.read(_HEAD.size))
    except struct.error:
        raise EnvupError(f"{memory} is damaged") from None
    if magic != _MAGIC or version != _VERSION:
        raise EnvupError(f"{memory} is not as this envup knows libvirt to save memory")
    data = source.read(length)
    if len(data) < length:
        raise EnvupError(f"{memory} is damaged")
    return _HEAD.size + length, compressed, data[cookie:] if cookie else b""


def _copy(source: IO[bytes], target: IO[bytes], start: int) -> None:
    """What follows `start`, shared where the file system can."""
    left = os.fstat(source.fileno()).st_size - start
    while left and (done := os.copy_file_range(source.fileno(), target.fileno(), left, start)):
        start, left = start + done, left - done
