"""Files of machines that are apart (`remote`): volumes in a storage pool of their libvirt.

Their names begin with `envup-` and an owner that differs for each home of envup, as nobody else knows which of them are
whole. Elements are those of https://libvirt.org/formatstorage.html.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree import ElementTree as xml

from envup.errors import EnvupError
from envup_kvm import connection
from envup_kvm.binding import libvirt

WHERE = "where.json"
"""URI and pool, beside the notes of what is there."""
_CHUNK = 1 << 20


class Volumes:
    """The volumes in one pool. `notes` is a directory of this host with an empty file for each shared one that is
    whole there."""

    def __init__(self, libvirtd: Any, pool: str, data: Path) -> None:
        self._libvirtd, self._pool_name = libvirtd, pool
        self._owner = _digest(Path("/etc/machine-id").read_text(), str(data))[:8]
        self._notes = data / "remote" / _digest(libvirtd.getURI(), pool)[:16]

    def share(self, name: str, source: Path) -> str:
        """The path there of a file that machines only read, sent first where it is missing. Errors: `EnvupError`."""
        full = f"envup-{self._owner}-{name}"
        with self._locked(), connection.telling(f"cannot send {source.name} to pool '{self._pool_name}'"):
            found = self._find(full)
            if found is None or not (self._notes / full).exists():
                self._delete(full)
                with source.open("rb") as stream:
                    found = self._send(full, stream, "0644")
                (self._notes / full).touch()
            return str(found.path())

    def forget(self, name: str) -> None:
        """Remove one that `share` sent; none is fine. Errors: `EnvupError`."""
        full = f"envup-{self._owner}-{name}"
        with self._locked(), connection.telling(f"cannot remove {full} from pool '{self._pool_name}'"):
            self._delete(full)
            (self._notes / full).unlink(missing_ok=True)

    def put(self, name: str, content: BinaryIO) -> str:
        """The path there of a machine's own file, which replaces one of that name. Errors: `EnvupError`."""
        with connection.telling(f"cannot send {name} to pool '{self._pool_name}'"):
            self._delete(name)
            return str(self._send(name, content, "0600").path())

    def lay_over(self, name: str, base: str, size: int) -> str:
        """The path there of a machine's disk of `size` bytes over the raw image `base`, made where it is missing and
        grown where it is smaller. Errors: `EnvupError`."""
        with connection.telling(f"cannot make {name} in pool '{self._pool_name}'"):
            found = self._find(name)
            if found is None:
                volume = _description(name, size, "qcow2", "0600")
                below = xml.SubElement(volume, "backingStore")
                xml.SubElement(below, "path").text = base
                xml.SubElement(below, "format", type="raw")
                found = self._pool().createXML(xml.tostring(volume, encoding="unicode"))
            elif found.info()[1] < size:
                found.resize(size)
            return str(found.path())

    def read(self, name: str) -> bytes:
        """What a file that QEMU writes there holds; nothing where it is missing. Errors: `EnvupError`."""
        with connection.telling(f"cannot read {name} in pool '{self._pool_name}'"):
            self._pool().refresh()
            volume = self._find(name)
            if volume is None:
                return b""
            found = bytearray()
            stream = self._libvirtd.newStream()
            volume.download(stream, 0, 0)
            stream.recvAll(lambda _stream, data, _opaque: found.extend(data), None)
            stream.finish()
            return bytes(found)

    def path(self, name: str) -> str:
        """Where one of that name is, or would be. Errors: `EnvupError`."""
        with connection.telling(f"libvirt does not tell of pool '{self._pool_name}'"):
            target = xml.fromstring(self._pool().XMLDesc()).findtext("target/path")
        return f"{target}/{name}"

    def remove(self, *names: str) -> None:
        """Remove a machine's own; missing ones are fine, and so is a missing pool. Errors: `EnvupError`."""
        with connection.telling(f"cannot remove {names[0]} from pool '{self._pool_name}'"):
            if all(pool.name() != self._pool_name for pool in self._libvirtd.listAllStoragePools()):
                return
            self._pool().refresh()
            for name in names:
                self._delete(name)

    def _pool(self) -> Any:
        try:
            pool = self._libvirtd.storagePoolLookupByName(self._pool_name)
        except libvirt.libvirtError as error:
            raise EnvupError(
                f"libvirt at {self._libvirtd.getURI()} has no storage pool '{self._pool_name}'",
                details=connection.said(error),
                hint=f"make it: virsh -c '{self._libvirtd.getURI()}' pool-define-as {self._pool_name} dir --target "
                "DIRECTORY, then pool-build, pool-start and pool-autostart; or name another in kvm.pool",
            ) from error
        if not pool.isActive():
            pool.create()
        return pool

    def _find(self, name: str) -> Any | None:
        try:
            return self._pool().storageVolLookupByName(name)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_VOL:
                return None
            raise

    def _delete(self, name: str) -> None:
        if (found := self._find(name)) is not None:
            found.delete()

    def _send(self, name: str, content: BinaryIO, mode: str) -> Any:
        size = content.seek(0, os.SEEK_END)
        volume = self._pool().createXML(xml.tostring(_description(name, size, "raw", mode), encoding="unicode"))
        content.seek(0)
        stream = self._libvirtd.newStream()
        volume.upload(stream, 0, size, libvirt.VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM)
        try:
            stream.sparseSendAll(_read, _in_data, _skip, content)
        except libvirt.libvirtError:
            volume.delete()
            raise
        stream.finish()
        return volume

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._notes.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self._notes / WHERE).write_text(json.dumps([self._libvirtd.getURI(), self._pool_name]))
        with (self._notes / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _description(name: str, size: int, kind: str, mode: str) -> xml.Element:
    volume = xml.Element("volume")
    xml.SubElement(volume, "name").text = name
    xml.SubElement(volume, "capacity").text = str(size)
    xml.SubElement(volume, "allocation").text = "0"
    target = xml.SubElement(volume, "target")
    xml.SubElement(target, "format", type=kind)
    xml.SubElement(xml.SubElement(target, "permissions"), "mode").text = mode
    return volume


def _read(_stream: Any, count: int, content: BinaryIO) -> bytes:
    return content.read(min(count, _CHUNK))


def _in_data(_stream: Any, content: BinaryIO) -> tuple[bool, int]:
    """Whether the file has data here, and for how many bytes that, or the hole, goes on."""
    here = content.tell()
    end = content.seek(0, os.SEEK_END)
    try:
        data = os.lseek(content.fileno(), here, os.SEEK_DATA)
        border = os.lseek(content.fileno(), here, os.SEEK_HOLE) if data == here else data
    except OSError:  # no data from here on
        data, border = end, end
    content.seek(here)
    return data == here, border - here


def _skip(_stream: Any, length: int, content: BinaryIO) -> int:
    content.seek(length, os.SEEK_CUR)
    return 0
