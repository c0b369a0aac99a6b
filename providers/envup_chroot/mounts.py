"""Makes the root of a machine inside the holder's namespaces: overlay, /dev, /sys, /proc, declared mounts.

Host paths are turned into detached mount trees first; then the root is changed and the host's is gone. All that
follows is resolved inside the machine while it has no /proc, so no link in an image can lead anything to the host.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH102, PTH110, PTH112, PTH211

from __future__ import annotations

import os

from envup.namespaces import declared, disk, guestfiles, syscalls
from envup.namespaces.declared import Declared, MountError
from envup.namespaces.syscalls import MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_RDONLY, MS_REC
from envup_chroot import hostview

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NODES = ("null", "zero", "full", "random", "urandom", "tty")
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
# Docker's lists (moby, oci/defaults.go).
_HIDDEN = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
    "/sys/devices/virtual/powercap", "/sys/firmware",
)  # fmt: skip
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def make_root(config: dict[str, Any]) -> None:
    """Give this process, PID 1 of its namespace, the machine's root, host name and files."""
    syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC)
    syscalls.mount("none", "/", None, MS_REC | MS_PRIVATE)
    syscalls.sethostname(config["files"]["hostname"])
    sources = [Declared(source, target, read_only=only) for source, target, only in config["mounts"]]
    nodes = {name: syscalls.clone_tree(f"/dev/{name}") for name in _NODES}
    processes = _processes()
    os.chdir(config["machine"])
    if config["copied"]:
        _bind_root()
    else:
        _overlay(config)
    os.chdir("root")
    syscalls.seal_imports()
    syscalls.pivot_root(".", ".")
    syscalls.unmount(".")
    os.chdir("/")
    _devices(nodes)
    _system_files(rootless=config["maps"] is not None)
    guestfiles.write(**config["files"])
    for source in sources:
        source.attach()
    declared.make("/proc", is_directory=True)
    syscalls.attach_tree(processes, "/proc")
    _protect()


def _processes() -> int:
    """A proc file system of this PID namespace. Made while the host's is still in sight: the kernel gives a user one
    only where he could see one already."""
    attributes = syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NODEV | syscalls.MOUNT_ATTR_NOEXEC
    try:
        return syscalls.detached("proc", attributes)
    except PermissionError as error:
        raise MountError("a new /proc is not allowed here: something is mounted over parts of the host's") from error


def _bind_root() -> None:
    """Make `root`, a copy of the image, a mount of its own."""
    tree = syscalls.clone_tree("root")
    syscalls.restrict_tree(tree, syscalls.MOUNT_ATTR_NODEV)
    syscalls.attach_tree(tree, "root")


def _overlay(config: dict[str, Any]) -> None:
    """Mount the copy-on-write view at `root`. Paths are given relative or as descriptors, which no character in them
    disturbs."""
    layers = ""
    if config["tmpfs"] is not None:
        syscalls.mount("tmpfs", "disk", "tmpfs", MS_NODEV, config["tmpfs"])
        disk.make_layers("disk", config["lowers"][0])
        layers = "disk/"
    elif config["disk"]:
        disk.mount_image("disk.img", "disk")
        disk.make_layers("disk", config["lowers"][0])
        layers = "disk/"
    lowers = [*config["lowers"]]
    if config["hidden"]:
        syscalls.mount("tmpfs", "mask", "tmpfs", MS_NODEV, "mode=755")
        hostview.mask("mask", config["hidden"])
        lowers.insert(0, "mask")
    opened = [os.open(lower, os.O_PATH | os.O_DIRECTORY) for lower in lowers]
    lower = ":".join(f"/proc/self/fd/{descriptor}" for descriptor in opened)
    data = f"lowerdir={lower},upperdir={layers}upper,workdir={layers}work"
    try:
        syscalls.mount("overlay", "root", "overlay", MS_NODEV, data + (",userxattr" if config["maps"] else ""))
    except OSError as error:
        raise MountError(f"overlayfs cannot be mounted on {config['machine']}: {error.strerror}") from error
    for descriptor in opened:
        os.close(descriptor)


def _devices(nodes: dict[str, int]) -> None:
    declared.make("/dev", is_directory=True)
    syscalls.mount("tmpfs", "/dev", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755,size=4m")
    for name, tree in nodes.items():
        declared.attach(tree, f"/dev/{name}", is_directory=False)
    for name, target in _LINKS.items():
        os.symlink(target, f"/dev/{name}")
    os.mkdir("/dev/pts")
    syscalls.mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5")
    os.mkdir("/dev/shm")
    syscalls.mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")


def _system_files(*, rootless: bool) -> None:
    """Mount /sys read-only. The kernel allows a sysfs to the owner of the network namespace alone, which a user is
    not."""
    declared.make("/sys", is_directory=True)
    kind = "tmpfs" if rootless else "sysfs"
    data = "mode=755" if rootless else ""
    syscalls.mount(kind, "/sys", kind, MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, data)


def _protect() -> None:
    """Hide what tells or changes the host's state, and make the rest of it read-only."""
    for path in _HIDDEN:
        if os.path.isdir(path):
            syscalls.mount("tmpfs", path, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
        elif os.path.exists(path):
            syscalls.attach_tree(syscalls.clone_tree("/dev/null"), path)
    for path in _READ_ONLY:
        if os.path.exists(path):
            tree = syscalls.clone_tree(path)
            syscalls.restrict_tree(tree, syscalls.MOUNT_ATTR_RDONLY)
            syscalls.attach_tree(tree, path)
