"""The end of a machine, from inside."""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH123, PTH208

from __future__ import annotations

import ctypes
import os
import select
import time

from envup.namespaces.signals import signal

_POWER_OFF = 0x4321FEDC
"""LINUX_REBOOT_CMD_POWER_OFF of reboot(2)."""
_SIGRTMIN = 34
_SYSTEMD_POWER_OFF = _SIGRTMIN + 4
"""systemd(1) then starts poweroff.target."""


def off(kind: str, grace: float) -> None:
    """Ask the machine's init to end it. Where `kind` is `small`, end it here: every process is asked, and killed after
    `grace` seconds; everything written is on the disk then."""
    os.setsid()
    if kind == "systemd":
        os.kill(1, _SYSTEMD_POWER_OFF)
    elif kind == "own":
        os.execve("/sbin/poweroff", ("/sbin/poweroff",), {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    else:
        _end_all(grace)
        os.sync()
        cut()


def cut() -> None:
    """Switch the machine off now. What it wrote to its disk before it was asked to sync is there."""
    _mount_read_only()
    ctypes.CDLL(None).reboot(_POWER_OFF)


def _end_all(grace: float) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    limit = time.monotonic() + grace
    os.kill(-1, signal.SIGTERM)
    os.kill(-1, signal.SIGCONT)
    while (left := limit - time.monotonic()) > 0 and (others := _others()):
        poll = select.poll()
        for descriptor in others:
            poll.register(descriptor, select.POLLIN)
        poll.poll(left * 1000)
        for descriptor in others:
            os.close(descriptor)
    os.kill(-1, signal.SIGKILL)


def _others() -> list[int]:
    """A pidfd for each process that lives, but for the first, this one and the kernel's own."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                state, parent = file.read().rpartition(b")")[2].split()[:2]
            if int(name) not in (1, 2, os.getpid()) and parent != b"2" and state != b"Z":
                found.append(os.pidfd_open(int(name)))
        except OSError:
            continue
    return found


def _mount_read_only() -> None:
    """The kernel does so with every file system: sysrq.rst, command u."""
    with open("/proc/sysrq-trigger", "wb", buffering=0) as file:
        file.write(b"u")
