"""Making what is in the directory of an LXC machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envup.image import Image
from envup.namespaces import disk, disk_images
from envup.provider import MachineSpec
from envup_lxc import config


def fill(directory: Path, spec: MachineSpec, image: Image, tree: Path, labels: Mapping[str, str]) -> dict[str, Any]:
    """Make layers and an empty console log; the facts of the machine. Errors: `EnvupError`, `OSError`."""
    (directory / config.CONSOLE).touch(mode=0o600)
    size = spec.resources.disk
    if size is None:
        disk.make_layers(str(directory), str(tree))
    else:
        disk_images.make_image(directory / "disk.img", size)
    return {"labels": dict(labels), "image": image.digest, "disk": size is not None}
