"""Snapshots as images of the engine, `envup/snapshot:<instance>-<name>`, committed from a machine's container.

A machine goes back to one in a container that is made from it and takes the old one's place, see `remaking`. That one
is bare: the next start, which is told the declaration, makes the one that runs from the same image.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

from envup.errors import EnvupError
from envup.provider import Instance, MachineSpec, Snapshot
from envup_docker import committing, containers, ending, images, remaking
from envup_docker.containers import BASE, CONFIG, INSTANCE, NEXT, SNAPSHOT, STARTED, VOLUMES
from envup_docker.engine import Engine

REPOSITORY = "envup/snapshot"


def every(engine: Engine, instance: Instance) -> list[Snapshot]:
    """Those of a machine, the oldest first. Errors: `EngineError`."""
    noted = (json.loads(one["Labels"][SNAPSHOT]) for one in _listed(engine, instance))
    return sorted((Snapshot(note["name"], note["created"]) for note in noted), key=lambda one: one.created)


def _listed(engine: Engine, instance: Instance) -> list[dict[str, Any]]:
    """As the engine lists them. Those of an earlier machine of the same name are not among them."""
    filters = {"reference": [REPOSITORY], "label": [f"{INSTANCE}={instance.id}", SNAPSHOT]}
    found: list[dict[str, Any]] = engine.call("GET", "/images/json", query={"filters": filters})
    return found


def _tag(instance: Instance, name: str) -> str:
    return f"{instance.id[:32]}-{name}"


def called(instance: Instance, name: str) -> str:
    """What the engine calls the snapshot of that name."""
    return f"{REPOSITORY}:{_tag(instance, name)}"


def take(engine: Engine, instance: Instance, name: str) -> Snapshot:
    """See `Snapshots`. Errors: `EngineError`, `EnvupError`."""
    if images.look(engine, called(instance, name)) is not None:
        raise EnvupError(f"machine '{instance.machine}' has a snapshot '{name}' already")
    found, created = containers.inspect(engine, instance.labels), time.time()
    labels = found["Config"]["Labels"]
    started = found["State"]["Status"] != "created" or labels.get(STARTED) == "1"
    note = {"name": name, "created": created, "started": started}
    own = {
        **dict.fromkeys(committing.OF_A_MACHINE, ""),
        **{key: labels[key] for key in ("envup.environment", "envup.machine")},
        INSTANCE: instance.id,
        SNAPSHOT: json.dumps(note),
    }
    committing.commit(engine, found, REPOSITORY, _tag(instance, name), own, pause=True)
    return Snapshot(name, created)


def look(engine: Engine, instance: Instance, name: str) -> dict[str, Any]:
    """What the engine says of one. Errors: `EngineError`; `EnvupError` where there is none."""
    image = images.look(engine, called(instance, name))
    if image is None:
        brief = f"machine '{instance.machine}' has no snapshot '{name}'"
        raise EnvupError(brief, hint="`env snapshot list` tells them")
    return image


def restore(engine: Engine, instance: Instance, name: str) -> None:
    """See `Snapshots`. Errors: `EngineError`, `EnvupError`."""
    image = look(engine, instance, name)
    found = containers.inspect(engine, instance.labels)
    plain = containers.name(instance.labels)
    engine.call("POST", "/containers/create", query={"name": f"{plain}{NEXT}"}, body=_bare(found, image, instance))
    ending.stop(engine, found["Id"], 0)
    remaking.replace(engine, found["Id"], instance.labels)


def _bare(found: Mapping[str, Any], image: Mapping[str, Any], instance: Instance) -> dict[str, Any]:
    """A container with the machine's labels, network and nameless volumes, and with nothing else that was declared."""
    volumes = remaking.nameless(found)
    kept = {label: text for label, text in found["Config"]["Labels"].items() if label.startswith("envup.")}
    started = json.loads(image["Config"]["Labels"][SNAPSHOT])["started"]
    labels = {
        **kept,
        INSTANCE: instance.id,
        BASE: committing.base_of(found),
        CONFIG: "",
        VOLUMES: remaking.taken_over(found, volumes),
        STARTED: "1" if started else "",
    }
    host = {"NetworkMode": found["HostConfig"]["NetworkMode"], "Mounts": volumes}
    first = {"Entrypoint": ["/bin/sh"], "Cmd": []}
    return {"Image": image["Id"], "Labels": labels, "HostConfig": host, **first}


def copy(engine: Engine, spec: MachineSpec, source: Instance, name: str, labels: Mapping[str, str]) -> Instance:
    """See `Snapshots.copy_snapshot`. Errors: `EngineError`, `EnvupError`."""
    image = look(engine, source, name)
    base = engine.call("GET", f"/images/{image['Config']['Labels'][BASE]}/json")
    others = remaking.names(image["Config"]) - remaking.names(base["Config"]) - spec.environment.keys()
    return containers.create(engine, spec, image["Id"], labels, base, sorted(others))


def delete(engine: Engine, instance: Instance, name: str) -> None:
    """See `Snapshots`. What it is made of goes with the last container that stands on it. Errors: `EngineError`."""
    images.delete(engine, called(instance, name), force=True)


def delete_all(engine: Engine, committed: Iterable[Mapping[str, Any]], machine: str) -> None:
    """Remove those of a machine among what was committed of its environment, also of earlier ones of that name that
    were not removed whole. Errors: `EngineError`."""
    for one in committed:
        if SNAPSHOT in one["Labels"] and one["Labels"].get("envup.machine") == machine:
            for tag in images.tags(one, REPOSITORY):
                images.delete(engine, tag, force=True)
