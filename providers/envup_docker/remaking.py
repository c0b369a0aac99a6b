"""Has a stopped container be as its machine is declared now.

What is fixed when a container is made (mounts, ports, variables …) is changed by making another from a commit of the
old one, under the same name with `.next` behind it, which takes the old one's place. At every moment one of the two is
the machine, with all that was written in it: the one with the plain name where it is there, else the other.

A commit keeps the settings of its container as defaults for the next one. So the next one is told everything that the
image itself says, and that variables which are declared no more are unset.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from envup.errors import EnvupError
from envup.provider import MachineSpec
from envup_docker import images, limits, settings
from envup_docker.committing import base_of
from envup_docker.containers import BASE, CONFIG, NEXT, SNAPSHOT, STARTED, VOLUMES, defaults, make, name, update
from envup_docker.engine import Engine, EngineError

_NAMELESS = "<none>:<none>"
"""How Docker lists an image that has lost its name."""


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
    image = base_of(found)
    config: dict[str, Any] = engine.call("GET", f"/images/{image}/json")["Config"]
    return {**config, "Id": image}


def _remake(engine: Engine, spec: MachineSpec, found: Mapping[str, Any]) -> None:
    labels, base = found["Config"]["Labels"], _base(engine, found)
    body = settings.container(spec, labels["envup.environment"])
    volumes = nameless(found)
    own = {CONFIG: settings.digest(body), BASE: base["Id"], VOLUMES: taken_over(found, volumes), STARTED: "1"}
    whole = {
        **defaults(base),
        **body,
        "Env": [*body["Env"], *sorted(names(found["Config"]) - names(base) - spec.environment.keys())],
        "HostConfig": {**body["HostConfig"], "Mounts": [*body["HostConfig"]["Mounts"], *volumes]},
    }
    kept = {label: value for label, value in labels.items() if label.startswith("envup.")}
    image = _commit(engine, found)
    try:
        make(engine, f"{name(labels)}{NEXT}", spec, image, whole, {**kept, **own})
    except EngineError:
        remove_commits(engine, labels, but=found["Image"])
        raise
    replace(engine, found["Id"], labels, image)


def replace(engine: Engine, old: str, labels: Mapping[str, str], image: str = "") -> None:
    """Put the next container of a machine in the place of the stopped one with the id `old`, and remove what was
    committed for that one, but `image`. Errors: `EngineError`."""
    engine.call("DELETE", f"/containers/{old}")
    engine.call("POST", f"/containers/{name(labels)}{NEXT}/rename", query={"name": name(labels)})
    remove_commits(engine, labels, but=image)


def names(config: Mapping[str, Any]) -> set[str]:
    """Those of an image's or a container's variables. A name without a value unsets one."""
    return {line.partition("=")[0] for line in config.get("Env") or ()}


def nameless(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The volumes that the engine made for the image's sake, and those that were taken over."""
    declared = {one["Target"] for one in found["HostConfig"].get("Mounts") or () if one["Type"] == "volume"}
    before = found["Config"]["Labels"].get(VOLUMES, "").split()
    return [
        {"Type": "volume", "Source": mount["Name"], "Target": mount["Destination"]}
        for mount in found["Mounts"]
        if mount["Type"] == "volume" and (mount["Destination"] not in declared or mount["Name"] in before)
    ]


def taken_over(found: Mapping[str, Any], volumes: Sequence[Mapping[str, Any]]) -> str:
    """The label with the volumes that the container after `found` takes over."""
    before = found["Config"]["Labels"].get(VOLUMES, "").split()
    return " ".join(sorted({*before, *(mount["Source"] for mount in volumes)}))


def _commit(engine: Engine, found: Mapping[str, Any]) -> str:
    """The image to make it from: that of the container, or where it has run, what it wrote as one."""
    labels = found["Config"]["Labels"]
    if found["State"]["Status"] == "created":
        image: str = found["Image"]
        return image
    tag = f"{labels['envup.machine'].lower()}-{os.urandom(4).hex()}"
    query = {"container": found["Id"], "repo": _repository(labels), "tag": tag, "pause": False}
    try:
        made: str = engine.call("POST", "/commit", query=query, body={"Labels": _of(labels)})["Id"]
    except EngineError as error:
        if "max depth" not in error.message:
            raise
        brief = f"the declaration of machine '{labels['envup.machine']}' has changed too often to keep what is in it"
        raise EnvupError(brief, details=error.message, hint="`env up --recreate` makes it anew, and empty") from error
    return made


def _of(labels: Mapping[str, str]) -> dict[str, str]:
    return {key: labels[key] for key in ("envup.environment", "envup.machine")}


def remove_commits(engine: Engine, labels: Mapping[str, str], *, but: str = "") -> None:
    """Remove what was committed of a machine and is no snapshot, the image `but` apart, and snapshots that machines of
    its environment stood on after they were deleted. Errors: `EngineError`."""
    for one in images.of_environment(engine, labels["envup.environment"]):
        of = one["Labels"]
        names = images.tags(one, _repository(labels)) if of.get("envup.machine") == labels["envup.machine"] else []
        if SNAPSHOT in of and set(one["RepoTags"] or ()) <= {_NAMELESS}:
            names = [one["Id"]]
        for called in names if one["Id"] != but else ():
            images.delete(engine, called)


def _repository(labels: Mapping[str, str]) -> str:
    return f"envup/{labels['envup.environment'].lower()}"
