"""Makes a machine ready, leaves the agent behind, and becomes its init; called by `first`.

An image without an init gets none: this process then stays, and the kernel reaps what is left to it.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH103, PTH110, PTH113, PTH123, PTH211

from __future__ import annotations

import json
import os
import socket
import sys

from envup.namespaces import declared, syscalls
from envup.namespaces.signals import signal
from envup_kvm import agent, disk_names, identity, masks, mounting, power, server, upkeep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NoReturn

INIT = "/sbin/init"
NOTIFY = "/run/envup/notify"
"""Where systemd says that it has booted, see sd_notify(3)."""


def main(way_in: server.WayIn) -> NoReturn:
    """Never returns. A failure ends the first process, and with it the kernel, which says so on the console."""
    with open(f"{server.KIT}/facts/machine.json", encoding="utf-8") as file:
        facts = json.load(file)
    kind = _kind(facts["init"])
    _prepare(facts, own_devices=kind == "small")
    notify = None
    if kind == "systemd":
        masks.make()
        notify = _listener()
    if os.fork() == 0:
        os.setsid()
        agent.main({**facts, "kind": kind}, notify, way_in)
    _become_init(kind)


def _kind(wanted: str) -> str:
    """`systemd`, `own` for another init of the image, or `small`."""
    target = os.path.realpath(INIT)
    if wanted == "small" or not (os.path.isfile(target) and os.access(target, os.X_OK)):
        return "small"
    name = target.rpartition("/")[2]
    scripts = any(os.path.exists(path) for path in ("/etc/init.d/rcS", "/sbin/openrc"))
    if name == "busybox" and not scripts:
        return "small"
    return "systemd" if name == "systemd" else "own"


def _prepare(facts: Mapping[str, Any], *, own_devices: bool) -> None:
    identity.take(facts, facts["resolver"])
    with open("/proc/sys/kernel/modprobe", "w", encoding="ascii") as file:
        file.write(f"{server.KIT}/modprobe")
    _show_modules()
    if own_devices:
        _make_devices()
    _fill_disk()
    identity.join_network(facts)
    try:
        mounting.attach(facts["mounts"])
    except (declared.MountError, OSError) as error:
        sys.stdout.write(f"envup: {error}\n")
        sys.stdout.flush()
        power.cut()


def _fill_disk() -> None:
    """The kernel grows no file system that it has found errors in; such a machine comes up as it is, and says so."""
    try:
        upkeep.grow()
    except OSError as error:
        sys.stdout.write(f"envup: the root file system cannot grow: {error.strerror}\n")
        sys.stdout.flush()


def _show_modules() -> None:
    """Where the image looks for the modules of the kernel."""
    release = os.uname().release
    place = f"/lib/modules/{release}"
    os.makedirs("/lib/modules", exist_ok=True)
    if not os.path.lexists(place):
        os.symlink(f"{server.KIT}/lib/modules/{release}", place)


def _make_devices() -> None:
    """What an init would."""
    for name, kind, data in (("pts", "devpts", "gid=5,mode=620,ptmxmode=666"), ("shm", "tmpfs", "mode=1777")):
        os.makedirs(f"/dev/{name}", exist_ok=True)
        syscalls.mount(kind, f"/dev/{name}", kind, syscalls.MS_NOSUID | syscalls.MS_NOEXEC, data)
    syscalls.mount("cgroup2", "/sys/fs/cgroup", "cgroup2", syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC)
    for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        if not os.path.lexists(f"/dev/{name}"):
            os.symlink(f"/proc/self/{target}", f"/dev/{name}")
    disk_names.make()


def _listener() -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(NOTIFY)
    return listener


def _become_init(kind: str) -> NoReturn:
    if kind != "small":
        console = {"NOTIFY_SOCKET": NOTIFY} if kind == "systemd" else {}
        os.execve(INIT, (INIT,), {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TERM": "linux", **console})
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    syscalls.set_process_name("init")
    while True:
        signal.pause()
