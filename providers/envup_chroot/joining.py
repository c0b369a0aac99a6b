"""Joins the namespaces of a running machine. Shared by the programs that enter one."""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH123

from __future__ import annotations

import os

from envup_chroot import records, syscalls
from envup_chroot.variables import unpacked


class NotRunning(Exception):
    """The machine's holder is gone."""


class Way:
    """How to reach a machine: parsed `key=value` arguments up to `--`; `rest` are those after it."""

    __slots__ = ("cgroups", "rest", "values")

    def __init__(self, arguments: list[str]) -> None:
        end = arguments.index("--")
        pairs = [argument.partition("=")[::2] for argument in arguments[:end]]
        self.cgroups = [value for key, value in pairs if key == "cgroup"]
        self.values = dict(pairs)
        self.rest = arguments[end + 1 :]

    def variables(self) -> dict[bytes, bytes]:
        """The environment that the machine was started with."""
        with open(f"/proc/{self.values['pid']}/environ", "rb") as file:
            return unpacked(dict(line.partition(b"=")[::2] for line in file.read().split(b"\0") if line))

    def open_cgroups(self) -> list[int]:
        """Descriptors to write 0 to, which moves the writer into the machine's control groups."""
        return [os.open(f"{cgroup}/cgroup.procs", os.O_WRONLY) for cgroup in self.cgroups]

    def join(self, *, processes: bool) -> None:
        """Become part of the machine: its file system, host name and users, and for children its processes. Errors:
        `NotRunning`."""
        kinds = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC
        if processes:
            kinds |= syscalls.CLONE_NEWPID
        if self.values["user_namespace"] == "1":
            kinds |= syscalls.CLONE_NEWUSER
        pid = int(self.values["pid"])
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError as error:
            raise NotRunning("the machine is not running") from error
        if records.start_time(pid) != self.values["start"]:
            raise NotRunning("the machine is not running")
        syscalls.seal_imports()
        syscalls.setns(descriptor, kinds)
        os.close(descriptor)
