"""A provisioner for tests of consent, and an image source: what they run is a script of the project, on the host."""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pluggy

from envup.image import FetchContext, Fetched, ImageSource
from envup.provisioner import HostCode, Machine, Provisioner, Step, StepContext


class Hostly(Provisioner):
    """`hostly: FILE` runs a file on the host."""

    name = "hostly"

    def host_code(self, step: Step, context: StepContext) -> HostCode:
        return HostCode(f"runs {step.options} on this host", (context.directory / step.options,))

    def describe(self, step: Step) -> str:
        return str(step.options)

    def run(self, step: Step, machine: Machine, context: StepContext) -> None:
        subprocess.run(["sh", context.directory / step.options], cwd=context.directory, check=True)


class Made(ImageSource):
    """`image: {hostly: FILE}` runs a file on the host, and is empty."""

    name = "hostly"

    def key(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"content": Path(options["hostly"]).read_text()}

    def host_code(self, options: Mapping[str, Any]) -> HostCode:
        return HostCode(f"runs {options['hostly']} on this host", (Path(options["hostly"]),))

    def fetch(self, options: Mapping[str, Any], archive: Path, context: FetchContext) -> Fetched:
        file = Path(options["hostly"])
        subprocess.run(["sh", file], cwd=file.parent, check=True)
        with tarfile.open(archive, "w") as made:
            member = tarfile.TarInfo("./etc")
            member.type = tarfile.DIRTYPE
            made.addfile(member)
        return Fetched()


@pluggy.HookimplMarker("envup")
def envup_provisioner() -> type[Provisioner]:
    """The provisioner."""
    return Hostly


@pluggy.HookimplMarker("envup")
def envup_image_source() -> type[ImageSource]:
    """The image source."""
    return Made
