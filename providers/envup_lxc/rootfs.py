"""The root of a machine: a copy-on-write view of its image, or a copy, with its files and declared mounts, made in the
mount namespace of `launch`.

For root, layers and declared mounts are shown to the machine with its own ids (idmapped mounts), so files on the disk
belong to the host's root where they belong to the machine's, and nothing is copied or given to other owners. An
ordinary user's machine has the ids of the keeper's user namespace, which are the right ones already.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH102, PTH109

from __future__ import annotations

import os

from envup.namespaces import declared, disk, guestfiles, syscalls, userns
from envup.namespaces.declared import Declared, MountError
from envup_lxc import inits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Rootfs:
    """The root of one machine. Made while the host's files are in sight; the working directory is the machine's."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self._users = userns.held(*config["maps"]) if config["maps"] else None
        self._declared = [
            Declared(source, target, read_only=only, users=self._users) for source, target, only in config["mounts"]
        ]
        self._root = ""

    def make(self, place: str) -> None:
        """Mount it at `root` below the directory `place`. Errors: `MountError`, `OSError`."""
        self._root = f"{place}/root"
        if self._config["copied"]:
            tree = syscalls.clone_tree("root", recursive=False)
            os.mkdir(self._root)
            syscalls.attach_tree(tree, self._root)
        else:
            self._make_layers(place)
            os.mkdir(self._root)
        syscalls.set_file_owner(*self._config["owner"])  # overlayfs writes as who mounts it
        if not self._config["copied"]:
            self._mount_layers(place)

    def _make_layers(self, place: str) -> None:
        """Show the image and the machine's layers with its ids."""
        lowers = [syscalls.clone_tree(lower, recursive=False) for lower in self._config["lowers"]]
        if self._config["disk"]:
            os.mkdir(f"{place}/disk")
            disk.mount_image("disk.img", f"{place}/disk")
            disk.make_layers(f"{place}/disk", self._config["lowers"][0])
        layers = syscalls.clone_tree(f"{place}/disk" if self._config["disk"] else ".", recursive=False)
        numbered = ((f"lower{number}", lower) for number, lower in enumerate(lowers))
        for name, tree in (*numbered, ("layers", layers)):
            os.mkdir(f"{place}/{name}", 0o700)
            declared.shift(tree, 0, self._users, "envup's data")
            syscalls.attach_tree(tree, f"{place}/{name}")

    def _mount_layers(self, place: str) -> None:
        lower = ":".join(f"{place}/lower{number}" for number in range(len(self._config["lowers"])))
        data = f"lowerdir={lower},upperdir={place}/layers/upper,workdir={place}/layers/work"
        try:
            syscalls.mount("overlay", self._root, "overlay", 0, data + ("" if self._users else ",userxattr"))
        except OSError as error:
            raise MountError(f"overlayfs cannot be mounted on {os.getcwd()}: {error.strerror}") from error

    def furnish(self) -> inits.Init:
        """Write envup's files, mount what was declared, and say what the machine starts with."""
        host = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
        here = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
        syscalls.seal_imports()
        os.chroot(self._root)
        os.chdir("/")
        init = self._furnish()
        syscalls.set_file_owner(os.geteuid(), os.getegid())
        os.fchdir(host)
        os.chroot(".")
        os.fchdir(here)
        os.close(host)
        os.close(here)
        return init

    def _furnish(self) -> inits.Init:
        config = self._config
        init = inits.find(config["init"], has_groups=not config["rootless"] or bool(config["group"]))
        guestfiles.write(config["hostname"], config["addresses"], config["resolver"], first=config["first"])
        for mount in self._declared:
            mount.attach()
        return init
