"""Joins the namespaces of a running machine. Shared by the programs that enter one."""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH102, PTH115, PTH123

from __future__ import annotations

import os

from envup.namespaces import capabilities, confinement, records, syscalls
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
        return [os.open(f"{_leaf(cgroup)}/cgroup.procs", os.O_WRONLY) for cgroup in self.cgroups]

    def capabilities(self) -> int:
        """The mask of capabilities that programs may keep. To be asked before `join`."""
        if given := self.values["capabilities"]:
            return int(given)
        with open(f"/proc/{self.values['pid']}/status", "rb") as file:
            return int(next(line for line in file if line.startswith(b"CapBnd:")).split()[1], 16)

    def lend_pipes(self) -> list[int]:
        """Give the standard streams that are pipes to the machine's root, who could not open /dev/stderr otherwise;
        their descriptors. Only root of the host can, and only others than root need it. To be asked before `join`."""
        if not self.has_users() or os.geteuid() != 0:
            return []
        pipes = [descriptor for descriptor in (0, 1, 2) if _is_pipe(descriptor)]
        uid, gid = (_first_of(f"/proc/{self.values['pid']}/{file}") for file in ("uid_map", "gid_map"))
        for pipe in pipes:
            os.fchown(pipe, uid, gid)
        return pipes

    def has_users(self) -> bool:
        """Whether the machine has a user namespace of its own, whose root `join` makes this process."""
        return "user" in self.values["namespaces"].split(",")

    def has_processes(self) -> bool:
        """Whether the machine numbers its processes itself, so that it sees none of the host."""
        return "pid" in self.values["namespaces"].split(",")

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
        syscalls.setns(descriptor, kinds)
        os.close(descriptor)
        if self.has_users():
            os.setresgid(0, 0, 0)
            os.setgroups([])
            os.setresuid(0, 0, 0)

    def confine(self, kept: int, host_proc: int) -> None:
        """Let what this process executes have no more power than programs of the machine: `kept` is what `capabilities`
        gave, `host_proc` a descriptor of the host's /proc. Until then it keeps its own, so that none of them may look
        into it. Errors: `OSError`."""
        capabilities.limit_to(kept)
        if persona := int(self.values["persona"]):
            syscalls.personality(persona)
        if label := self.values["label"]:
            confinement.take_on(label, host_proc)
        if self.values["no_new_privileges"] == "1":
            syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)


def _leaf(cgroup: str) -> str:
    """The group itself, or one of ours below it where it has groups below that share controllers: version 2 takes
    processes into leaves only (cgroup-v2.rst, No Internal Process Constraint)."""
    try:
        with open(f"{cgroup}/cgroup.subtree_control", "rb") as file:
            if not file.read().strip():
                return cgroup
    except FileNotFoundError:
        return cgroup
    leaf = f"{cgroup}/envup"
    try:
        os.mkdir(leaf)
    except FileExistsError:
        return leaf
    return leaf


def _is_pipe(descriptor: int) -> bool:
    """Whether it is a pipe without a name, which is nobody else's."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}").startswith("pipe:")
    except FileNotFoundError:
        return False


def _first_of(file: str) -> int:
    """The id here that a map of user_namespaces(7) has for id 0 inside. Errors: `OSError` where there is none."""
    with open(file, "rb") as lines:
        for line in lines:
            inside, outside, _count = line.split()
            if inside == b"0":
                return int(outside)
    raise OSError(f"{file} has no root")
