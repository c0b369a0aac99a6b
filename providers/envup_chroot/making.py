"""Making what is in the directory of a chroot machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from envup.image import Image, unpack_image
from envup.namespaces import disk, disk_images, programs, subids, trial
from envup.provider import MachineSpec
from envup_chroot import settings


def fill(directory: Path, tree: Path, spec: MachineSpec, image: Image) -> dict[str, Any]:
    """Make mount points and layers; the facts of the machine. Errors: `EnvupError`, `OSError`."""
    volatile = settings.tmpfs(spec) is not None
    size = None if volatile else spec.resources.disk
    for name in ("root", "disk", "mask"):
        (directory / name).mkdir(mode=0o700)
    if size is not None:
        disk_images.make_image(directory / "disk.img", size)
    elif not volatile:
        _make_root(directory, image, tree)
    return {"architecture": image.architecture, "volatile": volatile, "disk": size is not None}


def can_layer(data: Path) -> bool:
    """Whether machines below `data` are layers above their images. Errors: `EnvupError`."""
    return trial.can_layer(data, subids.maps() or ("", ""))


def _make_root(directory: Path, image: Image, tree: Path) -> None:
    """Layers above the image, or where there are none a copy of it."""
    if image.archive is None or can_layer(directory.parents[1]):
        disk.make_layers(str(directory), str(tree))
    else:
        (directory / "root").rmdir()
        unpack_image(image.archive, directory / "root", argv_prefix=programs.as_owner())
