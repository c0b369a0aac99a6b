"""The image sources `docker` and `dockerfile`: what an engine pulls or builds, as the hub form for every provider."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envup.image import FetchContext, Fetched, ImageSource
from envup.model import HostCode, ImageReference
from envup.namespaces import records
from envup_docker import building, containers, endpoint, obtaining
from envup_docker.engine import Answer, Engine
from envup_docker.refusals import telling

_LABEL = "envup.export"
_CHUNK = 1 << 20
_SIGN = b".dockerenv\0"
"""The first member of every export: an empty file that says to be in Docker, where the other providers are not."""


class DockerSource(ImageSource):
    """An image of an engine, pulled where it is missing."""

    name = "docker"

    def fetch(self, options: Mapping[str, Any], archive: Path, context: FetchContext) -> Fetched:
        """See `ImageSource`."""
        return _fetch(ImageReference(self.name, options, pin=context.pin), archive, context)


class DockerfileSource(ImageSource):
    """An image that an engine builds. It is another at each build."""

    name = "dockerfile"
    lockable = False

    def host_code(self, options: Mapping[str, Any]) -> HostCode:
        """What the engine is told to do. The Dockerfile decides that, and .dockerignore what is handed over; what the
        build copies does not leave its container, and may change."""
        dockerfile, context = Path(options["dockerfile"]), Path(options["context"])
        ignored = context / ".dockerignore"
        reads = (dockerfile, ignored) if ignored.is_file() else (dockerfile,)
        return HostCode(f"builds {dockerfile} in a Docker engine, which is given {context}", reads)

    def key(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """The Dockerfile and what it may copy."""
        return {"content": building.key(options)}

    def fetch(self, options: Mapping[str, Any], archive: Path, context: FetchContext) -> Fetched:
        """See `ImageSource`."""
        return _fetch(ImageReference(self.name, options), archive, context)


def _fetch(reference: ImageReference, archive: Path, context: FetchContext) -> Fetched:
    with telling("the engine does not give the image"):
        engine = Engine(endpoint.find(os.environ))
        image = obtaining.obtain(engine, None, reference, context.emit)
        _remove_remains(engine)
        _export(engine, image.digest, archive)
        return Fetched(image.architecture, image.environment, image.locked)


def _export(engine: Engine, image: str, archive: Path) -> None:
    """Write the file system of an image, as that of a container which is never started."""
    process = os.getpid()
    body = {"Image": image, "Cmd": ["/"], "Labels": {_LABEL: f"{process}.{records.start_time(process)}"}}
    made = engine.call("POST", "/containers/create", body=body)["Id"]
    try:
        with engine.stream("GET", f"/containers/{made}/export") as answer, archive.open("wb") as file:
            first = _whole_block(answer)
            file.write(b"" if first.startswith(_SIGN) else first)
            while data := answer.read(_CHUNK):
                file.write(data)
    finally:
        containers.remove(engine, made)


def _whole_block(answer: Answer) -> bytes:
    """The first bytes, enough of them for the head of a member."""
    data = b""
    while len(data) < tarfile.BLOCKSIZE and (more := answer.read(tarfile.BLOCKSIZE - len(data))):
        data += more
    return data


def _remove_remains(engine: Engine) -> None:
    """Remove containers of commands that died while they exported."""
    for one in containers.listed(engine, _LABEL):
        process, _, start = one["Labels"][_LABEL].partition(".")
        if records.start_time(int(process)) != start:
            containers.remove(engine, one["Id"])
