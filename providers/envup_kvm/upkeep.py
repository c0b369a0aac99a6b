"""What the host asks of a machine for the machine's own sake: its clock after it stood still, the size of its root file
system after its disk grew."""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH123

from __future__ import annotations

import errno
import fcntl
import json
import os
import struct
import time

from envup_kvm import processors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

VERBS = ("wake", "grow", "cpus", "spare", "flush")
_FACTS = "/run/envup/kit/facts/machine.json"
_RESIZE = 0x40086610
"""EXT4_IOC_RESIZE_FS of the kernel's fs/ext4/ext4.h, with the number of blocks."""
_SECTOR = 512
_PATH = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """What a request is answered, `error` where it failed. `wake` sets the clock to `time`, nanoseconds since the
    epoch, and tells what the machine was told when it booted; `grow` has the root file system fill its disk; `cpus` has
    the kernel use all processors once there are `count`; `spare` tells the KiB of memory that programs could have;
    `flush` writes all that is still to be written."""
    try:
        if request["verb"] == "wake":
            time.clock_settime_ns(time.CLOCK_REALTIME, request["time"])
            with open(_FACTS, encoding="utf-8", errors="surrogateescape") as file:
                return {"facts": file.read()}
        if request["verb"] == "spare":
            return {"spare": _spare()}
        if request["verb"] == "flush":
            os.sync()
            return {}
        if request["verb"] == "cpus":
            return {"count": processors.use(request["count"])}
        return {"size": _grow_by_cloud_init() if _booted_itself() else grow()}
    except OSError as error:
        return {"error": error.strerror or str(error)}


def _spare() -> int:
    """See the kernel's Documentation/filesystems/proc.rst."""
    with open("/proc/meminfo", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("MemAvailable:"))


def grow() -> int:
    """Its bytes afterwards; one that fills its disk already is left alone. Errors: `OSError`."""
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        status = os.fstatvfs(root)
        device = os.fstat(root).st_dev
        with open(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/size", encoding="ascii") as file:
            blocks = int(file.read()) * _SECTOR // status.f_frsize
        fcntl.ioctl(root, _RESIZE, struct.pack("=Q", blocks))
        return os.fstatvfs(root).f_blocks * status.f_frsize
    finally:
        os.close(root)


def _booted_itself() -> bool:
    with open(_FACTS, encoding="utf-8", errors="surrogateescape") as file:
        return bool(json.load(file)["boots_itself"])


def _grow_by_cloud_init() -> int:
    """As it does at each boot: the root's partition, then its file system, of whatever kind that is."""
    for module in ("growpart", "resizefs"):
        line = ("cloud-init", "single", "--name", module, "--frequency", "always")
        quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
        if os.waitpid(os.posix_spawnp(line[0], line, _PATH, file_actions=quiet), 0)[1]:
            raise OSError(errno.EIO, f"cloud-init's module {module} fails; see /var/log/cloud-init.log in the machine")
    status = os.statvfs("/")
    return status.f_blocks * status.f_frsize
