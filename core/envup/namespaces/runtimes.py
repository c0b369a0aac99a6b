"""Control groups for a runtime that puts groups of its own below those that it is started in, as systemd-nspawn and
runc do: in the hierarchy of version 2 and in systemd's, where no limits are. For root."""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH103, PTH112, PTH123

from __future__ import annotations

import contextlib
import os

from envup.namespaces import hierarchies

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def groups(name: str) -> list[str]:
    """Where those of a machine are, or would be; `cgroups.remove` takes them away with all that is below them."""
    return [
        f"{point}/envup/{name}"
        for point, kind, options in hierarchies.mounted()
        if kind == "cgroup2" or "name=systemd" in options
    ]


def enter(groups: Iterable[str]) -> None:
    """Make the groups where they are missing, and move this process into them. Errors: `OSError`."""
    for group in groups:
        while not os.path.isdir(group):
            with contextlib.suppress(FileNotFoundError):  # somebody removed the empty parent just now
                os.makedirs(group, exist_ok=True)
        with open(f"{group}/cgroup.procs", "w", encoding="ascii") as file:
            file.write("0")
