"""Writes the whole file system of a machine, which need not run, as a tar stream: from a copy of what the machine has
written, seen as the machine sees it in a mount namespace of its own.

In the directory of the copy is one of
    upper       lies over other directories
    disk.img    holds an `upper`, or where nothing lies below it the whole file system
    root        is the whole
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH102, PTH110, PTH112

from __future__ import annotations

import os
import sys

from envup.namespaces import archives, disk, overlays, syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import BinaryIO

    from envup.events import Emit

_PACK = (
    *archives.REPRODUCIBLE,
    "--xattrs-exclude=user.overlay.*",
    "--warning=no-file-ignored",
    "--file=-",
    ".",
)


def pack(
    copy: Path, lowers: Sequence[Path], archive: BinaryIO, machine: str, emit: Emit, owner: Sequence[str] = ()
) -> None:
    """Write a copy that lies over `lowers`, the uppermost first. `owner` is what is put before a tool that handles the
    machine's files (`programs.as_owner`). Errors: `EnvupError`."""
    from envup.namespaces import programs, transport

    line = (*owner, *programs.program("exporting", str(copy), *map(str, lowers)))
    transport.run(line, f"cannot pack the files of machine '{machine}'", emit, machine, stdout=archive)


def main(arguments: list[str]) -> int:
    """Become tar at the root of the machine's files."""
    copy, *lowers = arguments
    os.chdir(copy)
    source = "root" if os.path.isdir("root") else _mounted(lowers)
    os.environ["LC_ALL"] = "C.UTF-8"
    os.environ.pop("TAR_OPTIONS", None)
    os.chdir(source)
    try:
        os.execvp("tar", ["tar", *_PACK])
    except OSError as error:
        sys.stderr.write(f"tar: {error.strerror}\n")
        return 1


def _mounted(lowers: list[str]) -> str:
    """Where the file system is mounted."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    upper = "upper"
    if os.path.exists("disk.img"):
        os.mkdir("mounted")
        disk.mount_image("disk.img", "mounted")
        upper = "mounted/upper"
        if not lowers:
            return "mounted"
    os.mkdir("merged")
    opened = [os.open(lower, os.O_PATH | os.O_DIRECTORY) for lower in (upper, *lowers)]
    below = ":".join(f"/proc/self/fd/{descriptor}" for descriptor in opened)
    own = "" if overlays.is_in_first_namespace() else ",userxattr"
    syscalls.mount("overlay", "merged", "overlay", syscalls.MS_RDONLY, f"lowerdir={below}{own}")
    for descriptor in opened:
        os.close(descriptor)
    return "merged"
