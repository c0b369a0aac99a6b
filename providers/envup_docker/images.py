"""Images of the hub in an engine: imported once under their digest, as `envup/image:<digest>`."""

from __future__ import annotations

import fcntl
from collections.abc import Sequence
from pathlib import Path

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
    if not exists(engine, tag):
        with (runtime / f"{number}.import").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not exists(engine, tag):
                _import(engine, image.archive, image.digest, number)
    return tag


def exists(engine: Engine, name: str) -> bool:
    """Whether the engine has an image. Errors: `EngineError`."""
    try:
        engine.call("GET", f"/images/{name}/json")
    except EngineError as error:
        if error.status != 404:
            raise
        return False
    return True


def _import(engine: Engine, archive: Path, digest: str, tag: str) -> None:
    query = {"fromSrc": "-", "repo": REPOSITORY, "tag": tag, "changes": f"LABEL {LABEL}={digest}"}
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


def _is_ours(image: dict[str, object]) -> bool:
    tags = image.get("RepoTags")
    return isinstance(tags, list) and any(str(tag).startswith(f"{REPOSITORY}:") for tag in tags)


def remove(engine: Engine, digest: str) -> None:
    """Remove such an image; a missing one is no error. Errors: `EnvupError` when a machine was made from it."""
    users = listed(engine, f"{LABEL}={digest}")
    if users:
        labels = users[0]["Labels"]
        who = f"{labels.get('envup.project', '')}: {labels.get('envup.machine', '')}"
        raise EnvupError(f"the image {digest} is in use by {who}", hint="destroy that machine first")
    for tag in _tags(engine, digest):
        try:
            engine.call("DELETE", f"/images/{tag}")
        except EngineError as error:
            if error.status != 404:
                raise


def _tags(engine: Engine, digest: str) -> list[str]:
    built = engine.call("GET", "/images/json", query={"filters": {"reference": [BUILT]}})
    tags = [tag for one in built if one["Id"] == digest for tag in one["RepoTags"]]
    return [*tags, f"{REPOSITORY}:{digest.rpartition(':')[2]}"]
