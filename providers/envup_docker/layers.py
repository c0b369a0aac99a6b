"""Layers as images of the engine, `envup/layer:<key>`, committed from containers.

Their labels say what they are, and containers made from one have inherited them.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from envup.errors import EnvupError
from envup.provider import Layer
from envup_docker import committing, images
from envup_docker.containers import BASE, LAYER, LAYER_NOTE, LAYER_PARENT, LAYER_SIZE, listed
from envup_docker.engine import Engine

REPOSITORY = "envup/layer"


def name(key: str) -> str:
    """What the engine calls the layer."""
    return f"{REPOSITORY}:{key}"


def all_of(engine: Engine, used: Path) -> list[Layer]:
    """Those that there are. Errors: `EngineError`."""
    found = engine.call("GET", "/images/json", query={"filters": {"label": [LAYER]}})
    ours = {one["Labels"][LAYER]: one for one in found if name(one["Labels"][LAYER]) in (one["RepoTags"] or ())}
    standing = {one["Labels"][LAYER] for one in listed(engine, LAYER)}
    for key in tuple(standing):
        while (key := ours[key]["Labels"][LAYER_PARENT] if key in ours else "") and key not in standing:
            standing.add(key)
    return [_layer(one, ours, used, standing) for one in ours.values()]


def _layer(one: Mapping[str, Any], ours: Mapping[str, Any], used: Path, standing: set[str]) -> Layer:
    labels = one["Labels"]
    parent = labels[LAYER_PARENT]
    below = ours[parent]["Size"] if parent in ours else int(labels[LAYER_SIZE])
    key, created = labels[LAYER], float(one["Created"])
    mark = used / key
    latest = mark.stat().st_mtime if mark.exists() else created
    return Layer(
        key, parent, max(0, one["Size"] - below), created, latest, json.loads(labels[LAYER_NOTE]), key in standing
    )


def use(engine: Engine, used: Path, key: str) -> dict[str, Any]:
    """What the engine says of the image that is below a layer, which counts as used now. Errors: `EngineError`,
    `EnvupError` when it is gone."""
    found = images.look(engine, name(key))
    base = found and images.look(engine, found["Config"]["Labels"][BASE])
    if base is None:
        raise EnvupError(f"the layer {key} is gone", hint="run the command again")
    used.mkdir(mode=0o700, parents=True, exist_ok=True)
    (used / key).touch()
    return base


def keep(engine: Engine, runtime: Path, found: Mapping[str, Any], key: str, note: Mapping[str, Any]) -> None:
    """Commit the container that the engine describes so. Of several that leave the same layer at once one is kept: a
    second commit would leave the first without a name. Errors: `EngineError`."""
    with (runtime / f"{key}.layer").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if images.look(engine, name(key)) is None:
            _commit(engine, found, key, note)


def _commit(engine: Engine, found: Mapping[str, Any], key: str, note: Mapping[str, Any]) -> None:
    labels = {
        **dict.fromkeys(committing.OF_A_MACHINE, ""),
        LAYER: key,
        LAYER_PARENT: found["Config"]["Labels"].get(LAYER, ""),
        LAYER_NOTE: json.dumps(dict(note)),
        LAYER_SIZE: str(engine.call("GET", f"/images/{found['Image']}/json")["Size"]),
    }
    committing.commit(engine, found, REPOSITORY, key, labels, pause=False)


def remove(engine: Engine, used: Path, key: str) -> None:
    """Remove a layer; succeeds when it is gone. Errors: `EngineError`, `EnvupError` while something stands on it."""
    users = listed(engine, f"{LAYER}={key}")
    above: Sequence[Any] = engine.call(
        "GET", "/images/json", query={"filters": {"reference": [REPOSITORY], "label": [f"{LAYER_PARENT}={key}"]}}
    )
    if users or above:
        who = users[0]["Labels"].get("envup.machine", "a container") if users else above[0]["Labels"][LAYER]
        raise EnvupError(f"the layer {key} is in use by {who}")
    images.delete(engine, name(key))
    (used / key).unlink(missing_ok=True)
