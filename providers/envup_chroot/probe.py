"""Tries what a machine needs in a scratch directory: `runner.py probe DIRECTORY UIDS GIDS`; the maps are empty for
root.

Everything happens in namespaces of this process and ends with it. Exit code 0, or 1 with the failed need as `NEED:
reason`.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH102

from __future__ import annotations

import os
import sys

from envup.namespaces import syscalls, userns


def main(arguments: list[str]) -> int:
    """See the module."""
    directory, uids, gids = arguments
    need = "user namespace"
    try:
        if uids:
            userns.enter(uids, gids)
        need = "namespaces"
        syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWPID)
        syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
        os.chdir(directory)
        for name in ("lower", "upper", "work", "root"):
            os.mkdir(name)
        need = "overlayfs"
        layers = "lowerdir=lower,upperdir=upper,workdir=work" + (",userxattr" if uids else "")
        syscalls.mount("overlay", "root", "overlay", 0, layers)
        need = "mount_setattr"
        tree = syscalls.clone_tree("lower")
        syscalls.restrict_tree(tree, syscalls.MOUNT_ATTR_RDONLY)
    except OSError as error:
        sys.stderr.write(f"{need}: {error.strerror or error}\n")
        return 1
    return 0
