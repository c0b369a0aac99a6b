"""Making what is in the directory of an LXC machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from envup.image import Image, unpack_image
from envup.namespaces import disk, disk_images, programs, subids, trial
from envup.provider import MachineSpec
from envup_lxc import config


def fill(directory: Path, tree: Path, spec: MachineSpec, image: Image) -> dict[str, Any]:
    """Make layers and an empty console log; the facts of the machine. Errors: `EnvupError`, `OSError`."""
    (directory / config.CONSOLE).touch(mode=0o600)
    size = spec.resources.disk
    if size is None:
        _make_root(directory, image, tree)
    else:
        disk_images.make_image(directory / "disk.img", size)
    return {"disk": size is not None}


def can_layer(data: Path) -> bool:
    """Whether machines below `data` are layers above their images. Errors: `EnvupError`."""
    maps, nothing = subids.maps(), ("", "")
    return trial.can_layer(data, maps or nothing, nothing if maps else subids.shifted())


def _make_root(directory: Path, image: Image, tree: Path) -> None:
    """Layers above the image, or where there are none a copy of it, with the owners that the machine's users are on the
    host."""
    if image.archive is None or can_layer(directory.parents[1]):
        disk.make_layers(str(directory), str(tree))
    else:
        owner = programs.as_owner() if subids.maps() else programs.as_root_of(*subids.shifted())
        unpack_image(image.archive, directory / "root", argv_prefix=owner)
