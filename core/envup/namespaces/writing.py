"""What the programs of a machine that stand still may write later without a trace in the inode: a page of a file that
they share in memory, and that they wrote to before (mmap(2)).

The kernel tells such a file by a path, which may be that of another file outside a mount namespace or below a bind
mount, by an inode, and by a device: that of the file system in proc_pid_mountinfo(5), which stat(2) need not tell, as
on btrfs. Before Linux 6.8 device and inode are not those of the overlay but of what lies below it.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from envup.namespaces import pausing


def shared(first: int, upper: Path) -> list[str] | None:
    """Paths in the machine of the files that programs share in memory and have opened for writing; of the processes in
    the PID namespace of the process `first` and in those below it. None where that cannot be told, or not all of them
    stand still."""
    found = set[tuple[str, int]]()
    try:
        machine = _Machine(first, upper)
        for process in pausing.members(first):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if not pausing.stands_still(process):
                    return None
                found |= _shared(process, machine.devices)
        if all(machine.has(path, inode) for path, inode in found):
            return sorted({path for path, _inode in found})
    except (OSError, KeyError):
        return None
    return None


def _shared(process: int, devices: set[str]) -> set[tuple[str, int]]:
    """Each with its inode."""
    if not any(_is_shared(line.split(maxsplit=5), devices) for line in _lines(process, "maps")):
        return set()  # as in most; the kernel takes longer for what says more
    found, mapping = set[tuple[str, int]](), list[str]()
    for line in _lines(process, "smaps"):
        fields = line.split(maxsplit=5)
        if not fields[0].endswith(":"):
            mapping = fields
        elif fields[0] == "VmFlags:" and "mw" in line.split() and _is_shared(mapping, devices):
            found.add((mapping[5], int(mapping[4])))
    return found


def _lines(process: int, name: str) -> list[str]:
    text = Path(f"/proc/{process}/{name}").read_text(encoding="utf-8", errors="surrogateescape")
    return [line for line in text.split("\n") if line]


def _is_shared(mapping: list[str], devices: set[str]) -> bool:
    return len(mapping) == 6 and mapping[1][3] == "s" and mapping[3] in devices


class _Machine:
    """The files of one, whose root is that of the process `first` and lies over `upper`. Errors: `OSError`, and
    `KeyError` where no mount is known."""

    def __init__(self, first: int, upper: Path) -> None:
        self._root, self._upper = f"/proc/{first}/root", upper
        self._mount, _inode = _look(f"{self._root}/.")
        self.devices = {_device(first, self._mount), _device(os.getpid(), _look(f"{upper}/.")[0])}

    def has(self, path: str, inode: int) -> bool:
        """Whether it is this file that has a path below `upper`."""
        mount, known = _look(f"{self._root}{path}")
        return mount == self._mount and inode in (known, self._inode_below(path))

    def _inode_below(self, path: str) -> int | None:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return _look(f"{self._upper}{path}")[1]
        return None


def _look(path: str) -> tuple[int, int]:
    """The number of the mount on which a file is seen, and its inode."""
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        facts = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii").split()
        return int(facts[facts.index("mnt_id:") + 1]), os.fstat(descriptor).st_ino
    finally:
        os.close(descriptor)


def _device(process: int, mount: int) -> str:
    """That of a mount which a process sees, as proc_pid_maps(5) tells it."""
    with Path(f"/proc/{process}/mountinfo").open(encoding="utf-8", errors="surrogateescape") as lines:
        devices = {int(fields[0]): fields[2] for line in lines if (fields := line.split(" ", 3))}
    major, minor = map(int, devices[mount].split(":"))
    return f"{major:02x}:{minor:02x}"
