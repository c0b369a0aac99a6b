"""Images that an engine gets by itself: pulled from a registry, or built from a Dockerfile."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from envup.errors import EnvupError
from envup.events import Emit, Event
from envup.image import Image
from envup.model import ImageReference, Pin
from envup.value import replace
from envup_docker import building, images, remedies
from envup_docker.engine import Engine, EngineError
from envup_docker.refusals import telling

_ARCHITECTURES = {"amd64": "amd64", "386": "i386", "arm64": "arm64", "arm": "armhf", "riscv64": "riscv64"}
_ARCHITECTURES |= {"ppc64le": "ppc64el", "s390x": "s390x"}
"""Debian's names of Go's."""


def obtain(engine: Engine, data: Path | None, reference: ImageReference, emit: Emit, *, refresh: bool = False) -> Image:
    """The image that `reference` stands for, pulled or built where the engine lacks it or `refresh` asks for it anew.
    In `data` it is remembered which content a name stood for, so that the same is pulled the next time. One that is
    locked is known by the digest of its repository, or by its own where no registry has it. Errors: `EnvupError`."""
    options = reference.options
    name = str(options[reference.source])
    with telling(f"cannot get the image {name}"):
        if reference.source == "dockerfile":
            return describe(engine, building.build(engine, options, emit, refresh=refresh))
        platform = str(options.get("platform", ""))
        if reference.pin:
            return _locked(engine, name, reference.pin.digest, emit, platform)
        known = None if refresh else images.look(engine, name)
        if known is None or not _is_for(known, platform):
            _pull(engine, name, _Memory(data, name, refresh), emit, platform)
            if not _is_for(images.look(engine, name) or {}, platform):
                raise EnvupError(f"there is no image {name} for {platform}", hint="change `platform`, or leave it out")
        image = describe(engine, name)
        return replace(image, pin=Pin(_digest(engine, name) or image.digest))


def _locked(engine: Engine, name: str, digest: str, emit: Emit, platform: str) -> Image:
    """The image of that digest, whatever the name stands for in the engine."""
    if found := _find_locked(engine, name, digest, platform):
        return found
    repository, tag = parts(name)
    exact = f"{repository}@{digest}"
    _pull_as(engine, name, digest, emit, platform)
    if not images.look(engine, name):
        engine.call("POST", f"/images/{exact}/tag", query={"repo": repository, "tag": tag})
    return replace(describe(engine, exact), pin=Pin(digest))


def _find_locked(engine: Engine, name: str, digest: str, platform: str) -> Image | None:
    """The same where the engine has it."""
    for there in (f"{parts(name)[0]}@{digest}", digest):
        found = images.look(engine, there)
        if found and _is_for(found, platform):
            return replace(describe(engine, there), pin=Pin(digest))
    return None


def _digest(engine: Engine, name: str) -> str:
    """That of an image in its repository, empty where none of a registry is known."""
    repository, _ = parts(name)
    known = engine.call("GET", f"/images/{name}/json").get("RepoDigests") or ()
    digests = [digest for owner, _, digest in (one.partition("@") for one in known) if _is_same(owner, repository)]
    return str(digests[-1]) if digests else ""


def find(engine: Engine, reference: ImageReference) -> Image | None:
    """The image that `reference` stands for, or is locked at, where the engine has it. Errors: `EnvupError`."""
    options = reference.options
    name, platform = str(options[reference.source]), str(options.get("platform", ""))
    with telling(f"cannot look for the image {name}"):
        if reference.source == "dockerfile":
            name = building.called(options)
        elif reference.pin:
            return _find_locked(engine, name, reference.pin.digest, platform)
        known = images.look(engine, name)
        return describe(engine, name) if known and _is_for(known, platform) else None


def describe(engine: Engine, name: str) -> Image:
    """An image that the engine has. Errors: `EngineError`."""
    found = engine.call("GET", f"/images/{name}/json")
    variables = dict(line.partition("=")[::2] for line in found["Config"].get("Env") or ())
    return Image(found["Id"], None, _ARCHITECTURES.get(found["Architecture"], ""), variables)


def _is_for(image: Mapping[str, Any], platform: str) -> bool:
    """Whether an image is for `OS/ARCHITECTURE[/VARIANT]`."""
    wanted = platform.split("/")
    return [image.get("Os"), image.get("Architecture"), image.get("Variant", "")][
        : len(wanted)
    ] == wanted or not platform


class _Memory:
    """Which content a name stood for."""

    def __init__(self, data: Path | None, name: str, refresh: bool) -> None:
        number = hashlib.sha256(name.encode()).hexdigest()
        self._file = data / "resolved" / f"{number}.json" if data else None
        self._refresh = refresh

    def known(self) -> str:
        """The digest, empty where it is not known or is to be asked for anew."""
        try:
            text = self._file.read_text() if self._file and not self._refresh else "{}"
            return str(json.loads(text).get("digest", ""))
        except (FileNotFoundError, ValueError):
            return ""

    def keep(self, digest: str) -> None:
        """Remember it."""
        if self._file and digest:
            self._file.parent.mkdir(exist_ok=True)
            new = self._file.with_suffix(".new")
            new.write_text(json.dumps({"digest": digest}))
            new.rename(self._file)


def _pull(engine: Engine, name: str, memory: _Memory, emit: Emit, platform: str) -> None:
    repository, tag = parts(name)
    known = "" if tag.startswith("sha256:") else memory.known()
    _pull_as(engine, name, known, emit, platform)
    if known:
        engine.call("POST", f"/images/{repository}@{known}/tag", query={"repo": repository, "tag": tag})
    memory.keep(_digest(engine, name))


def _pull_as(engine: Engine, name: str, known: str, emit: Emit, platform: str) -> None:
    """Pull what a name stands for, or the content of the digest `known`."""
    repository, tag = parts(name)
    query = {"fromImage": repository, "tag": known or tag, "platform": platform or None}
    emit(Event("progress", text=f"pulling {name}{f', known as {known[:19]}' if known else ''}"))
    try:
        with engine.stream("POST", "/images/create", query=query, headers=_credentials(repository)) as answer:
            _follow(answer.lines(), emit)
    except EngineError as error:
        hint = error.hint or remedies.of_registry(error.message) or f"see what `docker pull {name}` says"
        raise EnvupError(f"cannot pull the image {name}", details=error.message, hint=hint) from error


def parts(name: str) -> tuple[str, str]:
    """Repository, and tag or digest, after the reference grammar of distribution."""
    repository, at, digest = name.partition("@")
    head, colon, tag = repository.rpartition(":")
    has_tag = colon and "/" not in tag
    if at:
        return (head if has_tag else repository), digest
    return (head, tag) if has_tag else (name, "latest")


def _is_same(one: str, other: str) -> bool:
    """Whether two names are of one repository; either may leave out where it is."""
    return f"/{one}".endswith(f"/{other}") or f"/{other}".endswith(f"/{one}")


def _credentials(repository: str) -> Mapping[str, str]:
    """The header with what the user has logged in with, as `docker login` keeps it."""
    directory = os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker"
    if not (Path(directory) / "config.json").exists():
        return {}
    auth = building.sdk("docker.auth")
    config = auth.load_config(str(Path(directory) / "config.json"))
    try:
        with warnings.catch_warnings(action="ignore"):  # of what is raised as well
            registry, _ = auth.resolve_repository_name(repository)
            found = auth.resolve_authconfig(config, registry)
    except building.sdk("docker.errors").DockerException as error:
        hint = "see whether `docker login` works"
        raise EnvupError(f"cannot get credentials for {repository}", details=str(error), hint=hint) from error
    return {"X-Registry-Auth": auth.encode_header(found).decode()} if found else {}


def _follow(lines: Iterable[Mapping[str, Any]], emit: Emit) -> None:
    for line in lines:
        if "error" in line:
            raise EngineError(500, str(line["error"]))
        if "id" not in line and line.get("status"):
            emit(Event("progress", text=str(line["status"])))
