"""Joins the namespaces of a running machine. Shared by the programs that enter one."""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH123

from __future__ import annotations

import os

from envup.namespaces import cgroup_leaf, pipes, records, syscalls
from envup.namespaces.variables import unpacked

_KINDS = {
    "user": syscalls.CLONE_NEWUSER,
    "mnt": syscalls.CLONE_NEWNS,
    "uts": syscalls.CLONE_NEWUTS,
    "ipc": syscalls.CLONE_NEWIPC,
    "pid": syscalls.CLONE_NEWPID,
    "net": syscalls.CLONE_NEWNET,
    "cgroup": syscalls.CLONE_NEWCGROUP,
}


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
        """The environment that the machine was started with. Errors: `NotRunning`."""
        holder = self.values["holder"]
        if not holder:
            return {}
        with open(f"/proc/{holder}/environ", "rb") as file:
            if not records.lives(int(holder), self.values["holder_start"]):
                raise NotRunning("the machine is not running")
            return unpacked(dict(line.partition(b"=")[::2] for line in file.read().split(b"\0") if line))

    def open_cgroups(self) -> list[int]:
        """Descriptors to write 0 to, which moves the writer into the machine's control groups."""
        return [os.open(f"{cgroup_leaf.below(cgroup)}/cgroup.procs", os.O_WRONLY) for cgroup in self.cgroups]

    def capabilities(self) -> int:
        """The mask of capabilities that programs may keep. To be asked before `join`."""
        if given := self.values["capabilities"]:
            return int(given)
        with open(f"/proc/{self.values['pid']}/status", "rb") as file:
            return int(next(line for line in file if line.startswith(b"CapBnd:")).split()[1], 16)

    def has_users(self) -> bool:
        """Whether the machine has a user namespace of its own, whose root `join` makes this process."""
        return "user" in self.values["namespaces"].split(",")

    def join(self, *, processes: bool) -> None:
        """Become part of the machine: of its namespaces, of that for processes only if `processes`, and only with
        children that are made later; root of its user namespace where it has one. Errors: `NotRunning`."""
        wanted = self.values["namespaces"].split(",")
        kinds = sum(_KINDS[name] for name in wanted if processes or name != "pid")
        pid = int(self.values["pid"])
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError as error:
            raise NotRunning("the machine is not running") from error
        if not records.lives(pid, self.values["start"]):
            raise NotRunning("the machine is not running")
        syscalls.seal_imports()
        if self.has_users() and os.geteuid() == 0:
            pipes.give_to_root_of(pid)
        syscalls.setns(descriptor, kinds)
        os.close(descriptor)
        if self.has_users():
            os.setresgid(0, 0, 0)
            os.setgroups([])
            os.setresuid(0, 0, 0)
