"""Mounts that an Envfile declares: host paths as detached trees, attached inside a machine later.

They are detached while the host's files are in sight and attached with the machine as root directory, so no link in the
machine leads anything to the host.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH103, PTH110, PTH116, PTH120

from __future__ import annotations

import os
import stat

from envup.namespaces import syscalls


class MountError(Exception):
    """Why a mount could not be made, in one sentence."""


class Declared:
    """A host path on its way into a machine, at `target` there."""

    __slots__ = ("_is_directory", "_target", "_tree")

    def __init__(self, source: str, target: str, *, read_only: bool, users: int | None = None) -> None:
        """`users` as in `syscalls.restrict_tree`. Errors: `MountError`."""
        self._target = target
        try:
            mode = os.stat(source).st_mode
            self._tree = syscalls.clone_tree(source)
        except OSError as error:
            raise MountError(f"mounts: {source}: {error.strerror}") from error
        is_device = stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
        attributes = (syscalls.MOUNT_ATTR_RDONLY if read_only else 0) | (0 if is_device else syscalls.MOUNT_ATTR_NODEV)
        self._is_directory = stat.S_ISDIR(mode)
        shift(self._tree, attributes, users, f"mounts: {source}")

    def attach(self) -> None:
        """Mount it in the machine. Errors: `MountError`."""
        attach(self._tree, self._target, is_directory=self._is_directory)


def shift(tree: int, attributes: int, users: int | None, subject: str) -> None:
    """`syscalls.restrict_tree`. Errors: `MountError`, which begins with `subject`."""
    try:
        syscalls.restrict_tree(tree, attributes, users=users)
    except OSError as error:
        why = ": its file system cannot be shown with the ids of the machine" if users is not None else ""
        raise MountError(f"{subject}{why}: {error.strerror}") from error


def attach(tree: int, target: str, *, is_directory: bool) -> None:
    """Mount a detached tree at a path of the machine. Errors: `MountError`."""
    try:
        place = os.path.realpath(target)  # also where a link leads to nothing yet
        make(place, is_directory=is_directory)
        syscalls.attach_tree(tree, place)
    except OSError as error:
        raise MountError(f"mounts: {target} in the machine: {error.strerror}") from error


def make(path: str, *, is_directory: bool) -> None:
    """Create a mount point where there is none. Errors: `OSError`."""
    if os.path.exists(path):
        return
    if is_directory:
        os.makedirs(path, exist_ok=True)
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
