"""The hierarchies of control groups that are mounted here. For the small programs as well; imports nothing heavy."""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH123

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def mounted() -> Iterator[tuple[str, str, list[str]]]:
    """(mount point, type, options of the file system) of each hierarchy; of one that is mounted twice, the first."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return parsed(file.read())


def parsed(mountinfo: str) -> Iterator[tuple[str, str, list[str]]]:
    """As `mounted`, of what proc_pid_mountinfo(5) describes."""
    seen = set()
    for line in mountinfo.splitlines():
        left, _separator, right = line.partition(" - ")
        kind, _source, options = right.split(" ", 2)
        device, _root, point = left.split()[2:5]
        if kind in ("cgroup", "cgroup2") and device not in seen:
            seen.add(device)
            yield point, kind, options.split(",")
