"""Starts a machine: makes its root in a mount namespace of its own and turns into lxc-start(1), which is then the
machine's monitor. Run in a child of the keeper with the configuration, marshalled, on standard input.

What is mounted here is seen by the monitor and the machine alone, and goes with them. Over the host's /run lies an
empty file system: LXC makes lock files there, and a directory that the machine's root may pass through is needed.
Descriptor 3 is told what PID 1 is going to be, and what of the image it stands in for.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH103, PTH123, PTH211

from __future__ import annotations

import marshal
import os
import sys

from envup.namespaces import declared, syscalls
from envup.namespaces.declared import MountError
from envup.namespaces.signals import signal
from envup_lxc import inits, rootfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

REPORT = 3
PRIVATE = "/run"
"""Where the machine's root and LXC's own files are, in this mount namespace."""


def main(keeper: int, environment: dict[str, str]) -> int:
    """See the module. Returns only when the machine could not be started, with the reason on standard error."""
    with open(0, "rb", closefd=False) as stdin:
        config: dict[str, Any] = marshal.load(stdin)
    os.umask(0o022)
    try:
        options = _prepare(config)
        _end_with(keeper)
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.execve(config["program"], [*config["line"], *options], environment)
    except (MountError, inits.NoInit) as error:
        sys.stderr.write(f"{error}\n")
    except OSError as error:
        sys.stderr.write(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}\n")
    return 1


def _end_with(keeper: int) -> None:
    """Die with the keeper. It was set when this process began and lost when it made files as somebody else (prctl(2),
    PR_SET_PDEATHSIG)."""
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != keeper:
        os.kill(os.getpid(), signal.SIGKILL)


def _prepare(config: dict[str, Any]) -> list[str]:
    """Make what LXC needs; further arguments for it."""
    os.chdir(config["machine"])
    if config["group"]:
        _join(f"{config['group']}/lxc")
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    _show_system(config)
    root, notify = rootfs.Rootfs(config), syscalls.clone_tree("notify")
    syscalls.mount("tmpfs", PRIVATE, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=755,size=1m")
    declared.attach(notify, f"{PRIVATE}/notify", is_directory=False)
    root.make(PRIVATE)
    init = root.furnish()
    os.makedirs(f"{PRIVATE}/lxc{PRIVATE}")
    os.symlink("/proc/self/cwd/states", f"{PRIVATE}/lxc{PRIVATE}/monitor-fifo")  # which lxc_monitor.c writes to
    os.write(REPORT, f"{init.kind} {init.passed_over}".encode())
    os.close(REPORT)
    return [argument for option in inits.options(init, PRIVATE) for argument in ("-s", option)]


def _join(group: str) -> None:
    """Live in a control group, which is delegated to this user, as LXC and what becomes of the machine will: where it
    restarts itself as well, and with an init that makes groups below."""
    os.makedirs(group, exist_ok=True)
    with open(f"{group}/cgroup.procs", "w", encoding="ascii") as processes:
        processes.write("0")


def _show_system(config: dict[str, Any]) -> None:
    """LXC looks for the bridge in /sys, which shows the network of who mounted it. It is to find control groups there
    only where it may make some."""
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    groups = None if config["rootless"] else syscalls.clone_tree("/sys/fs/cgroup")
    if config["own_network"]:
        syscalls.mount("sysfs", "/sys", "sysfs", flags)
    if groups is None:
        syscalls.mount("tmpfs", "/sys/fs/cgroup", "tmpfs", flags | syscalls.MS_RDONLY)
    elif config["own_network"]:
        syscalls.attach_tree(groups, "/sys/fs/cgroup")
