"""Host paths that a machine has mounted: one virtiofsd for each machine, which lives as long as the machine's QEMU.

    <place>/shares      the socket between the two
    <place>/shares.log  what virtiofsd complains of

The machine has one device for all of its mounts; see `sharing` for what is behind it and `mounting` for what the
machine does with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree as xml

from envup.errors import EnvupError
from envup.namespaces import checks, programs, subids
from envup.provider import MachineSpec, Mount
from envup_kvm import connection, mounting, owners, shares_life, sharing, virtiofsd
from envup_kvm.binding import libvirt
from envup_kvm.shares_life import LOG

SOCKET = "shares"
_HERE = str(Path(__file__).parent)
_KEPT = ("/dev", "/run", "/run/envup")
"""What a machine would not be reached without."""


def reasons(spec: MachineSpec) -> Iterator[str]:
    """Why mounts cannot be had, one sentence each."""
    yield from checks.mounts(spec)
    for mount in spec.mounts:
        if os.path.normpath(mount.target) in _KEPT or Path(os.path.normpath(mount.target)).is_relative_to(_KEPT[-1]):
            yield f"mounts: nothing can be mounted at {mount.target} of a machine"
        if mount.source.exists() and not (mount.source.is_dir() or mount.source.is_file()):
            yield f"mounts: {mount.source} is neither file nor directory, and no other kernel can use it"
    if spec.mounts and virtiofsd.find() is None:
        yield f"mounts: provider kvm needs virtiofsd: {virtiofsd.REMEDY}; or write `mounts: []` and use copy steps"


def ordered(spec: MachineSpec) -> list[Mount]:
    """The mounts, those first that others lie in."""
    return sorted(spec.mounts, key=lambda mount: len(Path(mount.target).parts))


def memory() -> xml.Element:
    """The machine's memory, which virtiofsd reads and writes as well."""
    backing = xml.Element("memoryBacking")
    xml.SubElement(backing, "source", type="memfd")
    xml.SubElement(backing, "access", mode="shared")
    return backing


def device(path: Path) -> xml.Element:
    """The machine's device with its socket, see https://libvirt.org/kbase/virtiofs.html."""
    element = xml.Element("filesystem", type="mount")
    xml.SubElement(element, "driver", type="virtiofs", queue="1024")
    xml.SubElement(element, "source", socket=str(path))
    xml.SubElement(element, "target", dir=mounting.TAG)
    return element


@contextlib.contextmanager
def offered(libvirtd: Any, place: Path, spec: MachineSpec) -> Iterator[None]:
    """Have virtiofsd wait for the machine's QEMU, which connects inside this context or never. Errors: `EnvupError`."""
    if not spec.mounts:
        yield
        return
    failure = f"cannot share the mounts of machine '{spec.name}'"
    try:
        with _listener(place / SOCKET, owners.qemu(libvirtd)) as listener:
            process = _start(place, spec, listener)
    except OSError as error:
        raise EnvupError(failure, details=f"{error.filename or place}: {error.strerror}") from error
    with process:
        try:
            if process.stdout is None or process.stdout.readline() != sharing.READY:
                raise EnvupError(failure, details=_said(place))
            yield
        except libvirt.libvirtError as error:
            if not (said := _said(place)):
                raise
            raise EnvupError(failure, details=f"{connection.said(error)}\n{said}") from error


def _listener(path: Path, owner: tuple[int, int]) -> socket.socket:
    """A socket that only `owner` can connect to. Errors: `OSError`."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    mask = os.umask(0o177)
    try:
        listener.bind(f"/proc/self/fd/{directory}/{path.name}")  # short enough, whatever the directory's name
        owners.give(path, owner)
        listener.listen(1)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(mask)
        os.close(directory)
    return listener


def _start(place: Path, spec: MachineSpec, listener: socket.socket) -> subprocess.Popen[bytes]:
    """`sharing`, which has virtiofsd as its child. Errors: `EnvupError`, `OSError`."""
    program = virtiofsd.find()
    if program is None:
        raise EnvupError("virtiofsd is missing", hint=virtiofsd.REMEDY)
    config = {
        "maps": subids.maps(),
        "place": str(place),
        "mounts": [(str(mount.source), mount.read_only) for mount in ordered(spec)],
        "line": virtiofsd.line(program, sharing.DIRECTORY, listener.fileno()),
    }
    with (place / LOG).open("wb") as log:
        shares_life.hold(log)
        process = subprocess.Popen(
            programs.program("sharing", str(listener.fileno()), directory=_HERE),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            pass_fds=(listener.fileno(),),
            start_new_session=True,
            cwd="/",
        )
    _tell(process.stdin, config)
    return process


def _tell(stream: IO[bytes] | None, config: Any) -> None:
    """One that has ended already has said why."""
    if stream is not None:
        with contextlib.suppress(BrokenPipeError):
            stream.write(json.dumps(config).encode() + b"\n")
            stream.flush()


def _said(place: Path) -> str:
    return (place / LOG).read_text(encoding="utf-8", errors="replace").strip()
