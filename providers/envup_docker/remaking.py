"""Has a stopped container be as its machine is declared now.

What is fixed when a container is made (mounts, ports, variables …) is changed by making another from a commit of the
old one, under the same name with `.next` behind it, which takes the old one's place. At every moment one of the two is
the machine, with all that was written in it: the one with the plain name where it is there, else the other.

A commit keeps the settings of its container as defaults for the next one. So the next one is told everything that the
image itself says, and that variables which are declared no more are unset.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from envup.errors import EnvupError
from envup.provider import MachineSpec
from envup_docker import images, limits, settings
from envup_docker.containers import BASE, COMMIT, CONFIG, NEXT, VOLUMES, make, name, update
from envup_docker.engine import Engine, EngineError

_OF_THE_IMAGE = {"Entrypoint": [], "Cmd": [], "User": "", "WorkingDir": "", "StopSignal": ""}
"""What a container takes from its image where it is not told, and what that is where the image says nothing."""


def fit(engine: Engine, spec: MachineSpec, found: Mapping[str, Any]) -> None:
    """Give the stopped container `found` the limits of `spec`, or make it again. Errors: `EngineError`."""
    if not fits(spec, found):
        _remake(engine, spec, found)
    elif limits.of(found["HostConfig"]) != limits.declared(spec.resources):
        update(engine, spec, found["Id"])


def fits(spec: MachineSpec, found: Mapping[str, Any]) -> bool:
    """Whether a container was made as `spec` says now, its limits apart."""
    labels = found["Config"]["Labels"]
    body = settings.container(spec, labels["envup.environment"])
    return bool(settings.digest(body) == labels.get(CONFIG))


def _base(engine: Engine, found: Mapping[str, Any]) -> dict[str, Any]:
    """What the image says that the machine began with, and its `Id`."""
    image = found["Config"]["Labels"].get(BASE, found["Image"])
    config: dict[str, Any] = engine.call("GET", f"/images/{image}/json")["Config"]
    return {**config, "Id": image}


def _remake(engine: Engine, spec: MachineSpec, found: Mapping[str, Any]) -> None:
    labels, base = found["Config"]["Labels"], _base(engine, found)
    body = settings.container(spec, labels["envup.environment"])
    plain, following = name(labels), f"{name(labels)}{NEXT}"
    volumes = _nameless(found)
    own = {
        CONFIG: settings.digest(body),
        BASE: base["Id"],
        VOLUMES: " ".join(sorted({*labels.get(VOLUMES, "").split(), *(mount["Source"] for mount in volumes)})),
    }
    whole = {
        **{key: base.get(key) or nothing for key, nothing in _OF_THE_IMAGE.items()},
        **body,
        "Env": [*body["Env"], *sorted(_names(found["Config"]) - _names(base) - spec.environment.keys())],
        "HostConfig": {**body["HostConfig"], "Mounts": [*body["HostConfig"]["Mounts"], *volumes]},
    }
    kept = {label: value for label, value in labels.items() if label.startswith("envup.")}
    image = _commit(engine, found)
    try:
        make(engine, following, spec, image, whole, {**kept, **own})
    except EngineError:
        remove_commits(engine, labels, but=found["Image"])
        raise
    engine.call("DELETE", f"/containers/{found['Id']}")
    engine.call("POST", f"/containers/{following}/rename", query={"name": plain})
    remove_commits(engine, labels, but=image)


def _names(config: Mapping[str, Any]) -> set[str]:
    """Those of an image's or a container's variables. A name without a value unsets one."""
    return {line.partition("=")[0] for line in config.get("Env") or ()}


def _nameless(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The volumes that the engine made for the image's sake, and those that were taken over."""
    declared = {one["Target"] for one in found["HostConfig"].get("Mounts") or () if one["Type"] == "volume"}
    taken_over = found["Config"]["Labels"].get(VOLUMES, "").split()
    return [
        {"Type": "volume", "Source": mount["Name"], "Target": mount["Destination"]}
        for mount in found["Mounts"]
        if mount["Type"] == "volume" and (mount["Destination"] not in declared or mount["Name"] in taken_over)
    ]


def _commit(engine: Engine, found: Mapping[str, Any]) -> str:
    """The image to make it from: that of the container, or where it has run, what it wrote as one."""
    labels = found["Config"]["Labels"]
    if found["State"]["Status"] == "created" and BASE not in labels:
        image: str = found["Image"]
        return image
    repository = f"envup/{labels['envup.environment'].lower()}"
    tag = f"{labels['envup.machine'].lower()}-{os.urandom(4).hex()}"
    query = {"container": found["Id"], "repo": repository, "tag": tag, "pause": False}
    try:
        made: str = engine.call("POST", "/commit", query=query, body={"Labels": {**_of(labels), COMMIT: "1"}})["Id"]
    except EngineError as error:
        if "max depth" not in error.message:
            raise
        brief = f"the declaration of machine '{labels['envup.machine']}' has changed too often to keep what is in it"
        raise EnvupError(brief, details=error.message, hint="`env up --recreate` makes it anew, and empty") from error
    return made


def _of(labels: Mapping[str, str]) -> dict[str, str]:
    return {key: labels[key] for key in ("envup.environment", "envup.machine")}


def remove_commits(engine: Engine, labels: Mapping[str, str], *, but: str = "") -> None:
    """Remove what was committed of a machine, the image `but` apart. Errors: `EngineError`."""
    wanted = [COMMIT, *(f"{key}={value}" for key, value in _of(labels).items())]
    for image in engine.call("GET", "/images/json", query={"filters": {"label": wanted}}):
        for called in (image["RepoTags"] or [image["Id"]]) if image["Id"] != but else ():
            images.delete(engine, called)
