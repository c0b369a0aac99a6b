"""Mounts what the host shares, in a machine: its device has a directory for each mount, numbered as they were declared.

    0 1 2 …     see `sharing`

Called by `boot`, and by requests to the agent where the device comes and goes while the machine runs.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH103, PTH112, PTH116, PTH123, PTH208

from __future__ import annotations

import errno
import os
import select
import socket
import sys
import time

from envup.namespaces import declared, syscalls
from envup.namespaces.declared import MountError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Mounts = Sequence[tuple[str, bool]]

TAG = "envup-mounts"
PLACE = "/run/envup/kit/facts/mounts"
"""Where the device is mounted as a whole, for root alone to see. It stays: the kernel takes a second mount of it for
one of any of its parts, as each part is a file system with the same connection (virtio_fs_test_super in fs/fuse)."""
_PATIENCE = 30.0
"""Seconds in which the kernel finds a device that was added."""
_NETLINK_KOBJECT_UEVENT = 15
_WITHIN = b"none"
"""What the kernel calls the source of a mount that virtiofsd announces within another."""


def attach(mounts: Mounts) -> None:
    """Mount each (target, read only); the device is there already. Errors: `MountError`, `OSError`."""
    if not mounts:
        return
    os.makedirs(PLACE, exist_ok=True)
    syscalls.mount(TAG, PLACE, "virtiofs", syscalls.MS_NODEV)
    _attach_parts(mounts)


def _attach_parts(mounts: Mounts) -> None:
    for number, (target, read_only) in enumerate(mounts):
        source = f"{PLACE}/{number}"
        tree = syscalls.clone_tree(source)
        attributes = syscalls.MOUNT_ATTR_NODEV | (syscalls.MOUNT_ATTR_RDONLY if read_only else 0)
        syscalls.restrict_tree(tree, attributes)
        declared.attach(tree, target, is_directory=os.path.isdir(source))


def attach_added(mounts: Mounts) -> None:
    """The same for a device that was added just now. Errors: `MountError`, `OSError`, `TimeoutError`."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_KOBJECT_UEVENT) as events:
        events.bind((0, 1))
        limit = time.monotonic() + _PATIENCE
        while True:
            try:
                attach(mounts)
                return
            except OSError as error:
                if error.errno != errno.EINVAL or error.filename != PLACE:  # virtiofs: no device of that tag
                    raise
            if not select.select([events], [], [], max(0.0, limit - time.monotonic()))[0]:
                raise TimeoutError("the machine's kernel does not find the device of its mounts")
            events.recv(1 << 16)


def detach(mounts: Mounts) -> list[str]:
    """Unmount them; who uses them, where somebody does, and then all are mounted as before. Errors: `MountError`,
    `OSError`."""
    if users := sorted(_users()):
        return users
    try:
        for point in reversed(_parts("self")):
            syscalls.unmount(point, lazily=False)
        if not (users := sorted(_elsewhere())):
            for point in reversed(_points("self")):
                syscalls.unmount(point, lazily=False)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        users = sorted(_users()) or ["a program that has ended meanwhile"]
    if users:
        for point in reversed(_parts("self")):
            syscalls.unmount(point)
        _attach_parts(mounts)
    return users


def serve(verb: str, mounts: Mounts) -> int:
    """What a request asks for: exit code 0, or 1 with the reason on standard error."""
    try:
        if verb == "attach":
            attach_added(mounts)
            return 0
        said = "".join(f"in use by {user}\n" for user in detach(mounts))
    except (MountError, OSError) as error:
        said = f"{error}\n"
    sys.stderr.write(said)
    sys.stderr.flush()
    return 1 if said else 0


def _points(process: str) -> list[str]:
    """Where a process sees parts of the device mounted, in the order of their mounting."""
    return [point for _device, point in _mounted(process)]


def _parts(process: str) -> list[str]:
    """The same without the device as a whole."""
    return [point for point in _points(process) if not f"{point}/".startswith(f"{PLACE}/")]


def _mounted(process: str) -> Iterator[tuple[str, str]]:
    """(device number, mount point), see proc_pid_mountinfo(5)."""
    with open(f"/proc/{process}/mountinfo", "rb") as file:
        for line in file:
            fields, _separator, source = (part.split() for part in line.partition(b" - "))
            if source[0] == b"virtiofs" and source[1] in (TAG.encode(), _WITHIN):
                point = fields[4].decode("unicode_escape").encode("latin-1")
                yield fields[2].decode(), os.fsdecode(point)


def _users() -> Iterator[str]:
    """Every process that is in them or has something of them open or in its memory."""
    devices = {device for device, _point in _mounted("self")}
    for process in _processes():
        if _uses(process, devices):
            yield _called(process)


def _uses(process: str, devices: set[str]) -> bool:
    try:
        links = [*(f"fd/{name}" for name in os.listdir(f"/proc/{process}/fd")), "cwd", "root"]
        with open(f"/proc/{process}/maps", "rb") as file:
            maps = {_decimal(line.split()[3].decode()) for line in file}
    except OSError:  # it has ended
        return False
    return bool(maps & devices) or any(_device(f"/proc/{process}/{link}") in devices for link in links)


def _decimal(device: str) -> str:
    return ":".join(str(int(part, 16)) for part in device.split(":"))


def _device(link: str) -> str:
    try:
        number = os.stat(link).st_dev
    except OSError:
        return ""
    return f"{os.major(number)}:{os.minor(number)}"


def _elsewhere() -> Iterator[str]:
    """Every process that still sees them, in a mount namespace of its own. What one with another root sees of this
    namespace is called otherwise there."""
    own = os.stat("/proc/self/ns/mnt").st_ino
    for process in _processes():
        try:
            if os.stat(f"/proc/{process}/ns/mnt").st_ino != own and _parts(process):
                yield _called(process)
        except OSError:  # it has ended
            continue


def _processes() -> list[str]:
    return [name for name in os.listdir("/proc") if name.isdigit()]


def _called(process: str) -> str:
    try:
        with open(f"/proc/{process}/comm", encoding="utf-8", errors="replace") as file:
            return f"{file.read().strip()}, process {process}"
    except OSError:
        return f"process {process}"
