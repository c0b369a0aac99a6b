"""The end of a program: what is left of its process group, and ending as it did."""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH123

from __future__ import annotations

import os

from envup.namespaces import syscalls
from envup.namespaces.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def group_members(host_proc: int, group: int) -> list[int]:
    """A pidfd for each process of the group that lives. `host_proc` is a descriptor of a /proc that numbers it so."""
    found = []
    for name in os.listdir(host_proc):
        if not name.isdigit():
            continue
        try:
            with open(os.open(f"{name}/stat", os.O_RDONLY, dir_fd=host_proc), "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            if int(fields[2]) == group and fields[0] != b"Z":
                found.append(os.pidfd_open(int(name)))
        except OSError:
            continue
    return found


def end_like(status: int) -> NoReturn:
    """End this process as the program ended: with its exit code, or by its signal and without a core file."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.kill(os.getpid(), -code)
    os._exit(code if code >= 0 else 128 - code)
