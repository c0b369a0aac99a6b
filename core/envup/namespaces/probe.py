"""Tries what a machine needs in a scratch directory: `runner.py probe DIRECTORY UIDS GIDS UIDS GIDS`; the first
maps are those of a user namespace, the others those that files are shown with; empty where there are none.

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
    directory, uids, gids, *shifted = arguments
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
        need = "mount_setattr"
        tree = syscalls.clone_tree("lower")
        syscalls.restrict_tree(tree, syscalls.MOUNT_ATTR_RDONLY)
        need = "overlayfs"
        layers = "lowerdir=lower,upperdir=upper,workdir=work" + (",userxattr" if uids else "")
        syscalls.mount("overlay", "root", "overlay", 0, layers)
        if shifted[0]:
            need = "idmapped layers"
            _show_shifted(*shifted)
    except OSError as error:
        sys.stderr.write(f"{need}: {error.strerror or error}\n")
        return 1
    return 0


def _show_shifted(uids: str, gids: str) -> None:
    """An overlay of layers that are shown with other ids; its root writes to it."""
    users = userns.held(uids, gids)
    syscalls.unmount("root")
    layers = syscalls.clone_tree(".", recursive=False)
    syscalls.restrict_tree(layers, 0, users=users)
    os.mkdir("layers")
    syscalls.attach_tree(layers, "layers")
    owner = [int(ids.split(":")[1]) for ids in (uids, gids)]
    syscalls.set_file_owner(owner[0], owner[1])
    place = "lowerdir=layers/lower,upperdir=layers/upper,workdir=layers/work"
    syscalls.mount("overlay", "root", "overlay", 0, place)
    os.mkdir("root/made")
