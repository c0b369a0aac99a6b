"""Making what is in the directory of a chroot machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from envup.image import Image
from envup.namespaces import disk, disk_images
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
        disk.make_layers(str(directory), str(tree))
    return {"architecture": image.architecture, "volatile": volatile, "disk": size is not None}
