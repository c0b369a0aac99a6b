"""What becomes PID 1 of a machine: the image's own init, or a small one that needs nothing of the image.

The small init ignores SIGCHLD, so that the kernel reaps what is left to it (sigaction(2)), and waits for nothing.
Its end is the host's business. It is a whole ELF program in a memory file, so it is executed through its
descriptor and lies on no disk.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH110, PTH113, PTH123

from __future__ import annotations

import os
import struct

_NOTIFY = "/run/host/notify"
"""Where systemd says in a machine that it has booted, see sd_notify(3). It leaves a /run that is there, with what is
mounted below it (systemd.io/CONTAINER_INTERFACE)."""
_UNMANAGED = "[Match]\nName=eth0\n[Link]\nUnmanaged=yes\n"
"""For systemd-networkd: the interface has its address already."""

_PATH = "/sbin/init"
_X86_64 = bytes.fromhex(
    "bf03000000 83ceff 31d2 b8b4010000 0f05"  # close_range(3, -1, 0)
    "bf0f000000 488d352b000000 b89d000000 0f05"  # prctl(PR_SET_NAME, "init")
    "bf11000000 488d3520000000 31d2 41ba08000000 b80d000000 0f05"  # rt_sigaction(SIGCHLD, {SIG_IGN}, 0, 8)
    "b822000000 0f05 ebf7"  # for (;;) pause()
    "696e697400000000"
    "0100000000000000 0000000000000000 0000000000000000 0000000000000000"
)
_AARCH64 = bytes.fromhex(
    "600080d2 01008092 020080d2 883680d2 010000d4"  # close_range(3, -1, 0)
    "e00180d2 01020010 e81480d2 010000d4"  # prctl(PR_SET_NAME, "init")
    "200280d2 c1010010 020080d2 030180d2 c81080d2 010000d4"  # rt_sigaction(SIGCHLD, {SIG_IGN}, 0, 8)
    "000080d2 010080d2 020080d2 030080d2 280980d2 010000d4 faffff17"  # for (;;) ppoll(0, 0, 0, 0)
    "696e697400000000"
    "0100000000000000 0000000000000000 0000000000000000 0000000000000000"
)
_PROGRAMS = {"x86_64": (62, _X86_64), "aarch64": (183, _AARCH64)}
"""Number of the machine after elf(5), and code that runs wherever it is loaded."""


class Init:
    """What PID 1 is: `kind` is `systemd`, `own` for another init of the image, or `small`; `path` in the machine.
    `passed_over` is the image's init that cannot run here."""

    __slots__ = ("kind", "passed_over", "path")

    def __init__(self, kind: str, path: str = "", passed_over: str = "") -> None:
        self.kind, self.path, self.passed_over = kind, path, passed_over


class NoInit(Exception):
    """The machine should start with the image's init, and cannot; the text says why."""


def find(wanted: str, *, has_groups: bool) -> Init:
    """The init that a machine starts with; run with its root as root directory. `wanted` is `auto`, `image` or
    `small`; `has_groups` whether it may make control groups. Errors: `NoInit`."""
    target = os.path.realpath(_PATH)
    name = target.rpartition("/")[2]
    if wanted == "small":
        return Init("small")
    if not os.path.isfile(target) or not os.access(target, os.X_OK):
        return _instead(wanted, "", f"the image has no {_PATH} that can be executed")
    if name == "systemd" and not has_groups:
        return _instead(wanted, "systemd", "systemd needs control groups of its own, which are not delegated to you")
    if name == "busybox" and wanted == "auto" and not _has_scripts():
        return Init("small")
    return Init("systemd" if name == "systemd" else "own", _PATH)


def _instead(wanted: str, passed_over: str, why: str) -> Init:
    if wanted == "image":
        raise NoInit(f"lxc.init: {why}; lxc.init: small does without it")
    return Init("small", passed_over=passed_over)


def _has_scripts() -> bool:
    """Whether BusyBox's init, which is there because BusyBox is, would have anything to start."""
    return any(os.path.exists(path) for path in ("/etc/init.d/rcS", "/sbin/openrc"))


def options(init: Init, place: str) -> list[str]:
    """What LXC must know of it, as `KEY=VALUE`. What it mounts for it lies in the directory `place`."""
    if init.kind == "small":
        return [f"lxc.init.cmd=/proc/self/fd/{_open_small()}"]
    if init.kind == "own":
        return [f"lxc.init.cmd={init.path}"]
    with open(f"{place}/network", "w", encoding="utf-8") as file:
        file.write(_UNMANAGED)
    binds = {"notify": _NOTIFY, "network": "/run/systemd/network/05-envup.network"}
    return [
        f"lxc.init.cmd={init.path}",
        f"lxc.environment=NOTIFY_SOCKET={_NOTIFY}",
        "lxc.mount.entry=tmpfs run tmpfs nosuid,nodev,mode=755,create=dir 0 0",  # anew each time that it reboots
        *(f"lxc.mount.entry={place}/{name} {to[1:]} none bind,create=file 0 0" for name, to in binds.items()),
    ]


def architecture() -> str:
    """That of the kernel, after uname(2)."""
    return os.uname().machine


def has_small() -> bool:
    """Whether there is a small init for this kernel."""
    return architecture() in _PROGRAMS


def small(architecture: str) -> bytes:
    """The small init as an ELF program for a kernel of this architecture. Errors: `KeyError`."""
    number, code = _PROGRAMS[architecture]
    base, start = 0x400000, 64 + 56
    size = start + len(code)
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = struct.pack("<16s2HI3QI6H", identity, 2, number, 1, base + start, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<2I6Q", 1, 5, 0, base, base, size, size, 0x10000)
    return header + segment + code


def _open_small() -> int:
    """A descriptor of it that survives exec."""
    descriptor = os.memfd_create("init", 0)
    os.write(descriptor, small(architecture()))
    return descriptor
