"""Images of the hub in an engine: imported once under their digest, as `envup/image:<digest>`."""

from __future__ import annotations

import fcntl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from envup.errors import EnvupError
from envup.image import Image
from envup_docker.containers import listed
from envup_docker.engine import Engine, EngineError

REPOSITORY, BUILT = "envup/image", "envup/build"
LABEL = "envup.image"


def ensure(engine: Engine, runtime: Path, image: Image) -> str:
    """The name that the engine knows the image by; one of the hub is imported first where it is missing. Errors:
    `EngineError`, `EnvupError`."""
    if image.archive is None:
        return image.digest
    number = image.digest.rpartition(":")[2]
    tag = f"{REPOSITORY}:{number}"
    if not look(engine, tag):
        with (runtime / f"{number}.import").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not look(engine, tag):
                _import(engine, image.archive, image.digest, tag)
    return tag


def look(engine: Engine, name: str) -> dict[str, Any] | None:
    """All that the engine says of an image, None where it has none. Errors: `EngineError`."""
    try:
        found: dict[str, Any] = engine.call("GET", f"/images/{name}/json")
    except EngineError as error:
        if error.status != 404:
            raise
        return None
    return found


def _import(engine: Engine, archive: Path, digest: str, name: str) -> None:
    query = {"fromSrc": "-", "repo": name, "changes": f"LABEL {LABEL}={digest}"}
    with (
        archive.open("rb") as content,
        engine.stream("POST", "/images/create", query=query, content=content) as answer,
    ):
        for line in answer.lines():
            if "error" in line:
                raise EnvupError(f"the engine does not take the image {digest}", details=str(line["error"]))


def forms(engine: Engine) -> Sequence[tuple[str, int]]:
    """(digest, bytes) of each image that envup brought into the engine, built or imported."""
    imported = engine.call("GET", "/images/json", query={"filters": {"label": [LABEL]}})
    built = engine.call("GET", "/images/json", query={"filters": {"reference": [BUILT]}})
    found = {one["Labels"][LABEL]: one["Size"] for one in imported if _is_ours(one)}
    found |= {one["Id"]: one["Size"] for one in built}
    return sorted(found.items())


def _is_ours(image: Mapping[str, Any]) -> bool:
    return bool(tags(image, REPOSITORY))


def remove(engine: Engine, digest: str) -> None:
    """Remove such an image; a missing one is no error. Errors: `EnvupError` when a machine was made from it."""
    users = listed(engine, f"{LABEL}={digest}")
    if users:
        labels = users[0]["Labels"]
        who = f"{labels.get('envup.project', '')}: {labels.get('envup.machine', '')}"
        raise EnvupError(f"the image {digest} is in use by {who}", hint="destroy that machine first")
    for name in _names(engine, digest):
        delete(engine, name)


def _names(engine: Engine, digest: str) -> list[str]:
    """All that an image has; one that was imported by several commands at once has been there more than once."""
    built = engine.call("GET", "/images/json", query={"filters": {"reference": [BUILT]}})
    tags = [tag for one in built if one["Id"] == digest for tag in one["RepoTags"]]
    nameless = {"label": [f"{LABEL}={digest}"], "dangling": ["true"]}
    twice = [one["Id"] for one in engine.call("GET", "/images/json", query={"filters": nameless})]
    return [*tags, f"{REPOSITORY}:{digest.rpartition(':')[2]}", *twice]


def of_environment(engine: Engine, environment: str) -> list[dict[str, Any]]:
    """What was committed of an environment's machines and goes with them, as the engine lists it. Errors:
    `EngineError`."""
    found: list[dict[str, Any]] = engine.call(
        "GET", "/images/json", query={"filters": {"label": [f"envup.environment={environment}"]}}
    )
    return found


def tags(image: Mapping[str, Any], repository: str) -> list[str]:
    """Names within a repository of ours that an image of a list has; Podman puts its own host before them."""
    return [tag for tag in image["RepoTags"] or () if f"/{repository}:" in f"/{tag}"]


def delete(engine: Engine, name: str, *, force: bool = False) -> None:
    """Remove a name, and the image with its last one; a missing one is no error, nor is one that another image or a
    container is made from: it keeps its name, without which `force` leaves it. Errors: `EngineError`."""
    try:
        engine.call("DELETE", f"/images/{name}", query={"force": force})
    except EngineError as error:
        if error.status not in (404, 409):
            raise
