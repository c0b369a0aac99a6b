"""The containers of machines: found by their labels, made, given limits, removed.

A machine is the container `envup-<environment>-<machine>`. One with `.next` behind that name is to take its place, see
`remaking`; it is the machine where the plain one is gone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from envup.errors import EnvupError
from envup.provider import Instance, MachineSpec, Port
from envup_docker import limits, settings
from envup_docker.engine import Engine, EngineError

NEXT = ".next"
INSTANCE, CONFIG, BASE, VOLUMES = "envup.instance", "envup.config", "envup.base", "envup.volumes"
STARTED = "envup.started"
SNAPSHOT = "envup.snapshot"
LAYER, LAYER_PARENT, LAYER_NOTE, LAYER_SIZE = (f"envup.layer{part}" for part in ("", ".parent", ".note", ".size"))
"""Labels of this provider: the instance's id, what the container was made with; on one that was made again, the image
that the machine began with, the nameless volumes that it took over, and `1` where the one before had been started; on
an image, which snapshot it is. On an image that is a layer, and what is made from it, its key, that of the layer
below, its note, and the bytes below it."""

OF_THE_IMAGE = {"Entrypoint": [], "Cmd": [], "User": "", "WorkingDir": "", "StopSignal": ""}
"""What a container takes from its image where it is not told, and what that is where the image says nothing."""


_OWN = (INSTANCE, CONFIG, BASE, VOLUMES, STARTED, SNAPSHOT, LAYER, LAYER_PARENT, LAYER_NOTE, LAYER_SIZE)
_STATES = {"created": "created", "running": "running", "restarting": "running", "paused": "suspended"}
_STATES |= {"exited": "stopped"}
_EVERYWHERE = (None, "", "0.0.0.0", "::")


def name(labels: Mapping[str, str]) -> str:
    """The name of a machine's container."""
    return f"envup-{labels['envup.environment']}-{labels['envup.machine']}"


class Names:
    """What the containers of machines are called: as `name` says, but those that somebody has renamed."""

    __slots__ = ("_renamed",)

    def __init__(self) -> None:
        self._renamed: dict[str, str] = {}

    def note(self, found: Iterable[Mapping[str, Any]]) -> None:
        """Learn from containers of a list."""
        for one in found:
            if all(_machine(one)):
                called = name(one["Labels"])
                if _is_called(one, called):
                    self._renamed.pop(called, None)
                elif not is_next(one):
                    self._renamed[called] = one["Id"]

    def of(self, labels: Mapping[str, str]) -> str:
        """The name of a machine's container, or its id."""
        called = name(labels)
        return self._renamed.get(called, called)


def listed(engine: Engine, *labels: str) -> list[dict[str, Any]]:
    """The containers with all of these labels, stopped ones included; one question."""
    found: list[dict[str, Any]] = engine.call(
        "GET", "/containers/json", query={"all": True, "filters": {"label": list(labels)}}
    )
    return found


def of_machine(engine: Engine, labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """The containers of one machine: none, one, or two where making it again was interrupted."""
    return listed(engine, *(f"{key}={labels[key]}" for key in ("envup.environment", "envup.machine")))


def seen(found: Iterable[Mapping[str, Any]]) -> list[Instance]:
    """The machines that these containers are, by name."""
    machines: dict[tuple[str, str], Mapping[str, Any]] = {}
    for one in found:
        key = _machine(one)
        if all(key) and (key not in machines or not is_next(one)):
            machines[key] = one
    return [_instance(machines[key]) for key in sorted(machines)]


def _machine(one: Mapping[str, Any]) -> tuple[str, str]:
    """Environment and machine that a container of a list is of, empty where it is of none."""
    labels = one["Labels"]
    return labels.get("envup.environment", ""), labels.get("envup.machine", "")


def _is_called(one: Mapping[str, Any], called: str) -> bool:
    return any(name.removeprefix("/") == called for name in one["Names"])


def is_next(one: Mapping[str, Any]) -> bool:
    """Whether a container of a list is one that is to take another's place."""
    return all(name.endswith(NEXT) for name in one["Names"])


def networks_of(one: Mapping[str, Any]) -> Mapping[str, Any]:
    """The networks of a container, by name; Podman leaves them out where there are none."""
    found: Mapping[str, Any] | None = (one.get("NetworkSettings") or {}).get("Networks")
    return found or {}


def _instance(one: Mapping[str, Any]) -> Instance:
    labels = {key: value for key, value in one["Labels"].items() if key.startswith("envup.") and key not in _OWN}
    state = _STATES.get(one["State"], "broken")
    reason = f"the engine says: {one['State']}" if state == "broken" else ""
    if state == "created" and one["Labels"].get(STARTED) == "1":
        state = "stopped"
    addresses = tuple(net["IPAddress"] for net in networks_of(one).values() if net.get("IPAddress"))
    ports = _ports(one.get("Ports") or ()) if state in ("running", "suspended") else ()
    return Instance(one["Labels"].get(INSTANCE, one["Id"]), state, labels, reason, ports, addresses)


def _ports(found: Iterable[Mapping[str, Any]]) -> tuple[Port, ...]:
    """Published ports; one on every address is told by the engine once for each IP version."""
    ports = {
        (one["PrivatePort"], one["PublicPort"], None if one.get("IP") in _EVERYWHERE else one["IP"], one["Type"])
        for one in found
        if one.get("PublicPort")
    }
    return tuple(Port(*port) for port in sorted(ports, key=str))


def create(
    engine: Engine,
    spec: MachineSpec,
    image: str,
    labels: Mapping[str, str],
    base: Mapping[str, Any] | None = None,
    unset: Iterable[str] = (),
) -> Instance:
    """Make the container of a machine. `base` is what the engine says of the image below, where `image` was committed
    from a machine; `unset` are variables of `image` that this one has not. Errors: `EngineError`; `EnvupError` when the
    machine exists."""
    body = settings.container(spec, labels["envup.environment"])
    own = {INSTANCE: os.urandom(16).hex(), CONFIG: settings.digest(body), **({BASE: base["Id"]} if base else {})}
    whole = {**defaults(base["Config"]), **body} if base else body
    whole = {**whole, "Env": [*body["Env"], *unset]}
    try:
        make(engine, name(labels), spec, image, whole, {**labels, **own})
    except EngineError as error:
        if "name" not in error.message or "already in use" not in error.message:
            raise
        whose = seen(of_machine(engine, labels))
        brief = f"machine '{spec.name}' exists already" if whose else f"the name {name(labels)} is taken in the engine"
        raise EnvupError(brief, details=error.message, hint=f"docker rm {name(labels)}" * (not whose)) from error
    return Instance(own[INSTANCE], "created", labels)


def defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a container takes from an image with that configuration, told in full."""
    return {key: config.get(key) or nothing for key, nothing in OF_THE_IMAGE.items()}


def make(
    engine: Engine, called: str, spec: MachineSpec, image: str, body: Mapping[str, Any], labels: Mapping[str, str]
) -> None:
    """Make a container from an image. Errors: `EngineError`."""
    declared = {key: settings.text(value) for key, value in settings.options(spec).get("labels", {}).items()}
    host = {**body["HostConfig"], "PidsLimit": -1, **limits.declared(spec.resources)}  # Podman has a default.
    whole = {**body, "Image": image, "Labels": {**declared, **labels}, "HostConfig": host}
    engine.call("POST", "/containers/create", query={"name": called}, body=whole)


def inspect(engine: Engine, labels: Mapping[str, str]) -> dict[str, Any]:
    """All that the engine says of a machine's container, after an interrupted re-creation was brought to its end and
    one that somebody renamed got its name back. Errors: `EngineError`; `EnvupError` when there is none."""
    found = sorted(of_machine(engine, labels), key=is_next)
    if not found:
        raise EnvupError(f"machine '{labels['envup.machine']}' does not exist", hint="`env up` makes it")
    for left in found[1:]:
        remove(engine, left["Id"])
    if not _is_called(found[0], name(labels)):
        engine.call("POST", f"/containers/{found[0]['Id']}/rename", query={"name": name(labels)})
    return look(engine, name(labels))


def look(engine: Engine, called: str) -> dict[str, Any]:
    """All that the engine says of one container. Errors: `EngineError`."""
    found: dict[str, Any] = engine.call("GET", f"/containers/{called}/json")
    return found


def update(engine: Engine, spec: MachineSpec, container: str) -> None:
    """Set and lift limits, whether it runs or not. Errors: `EngineError`; `EnvupError` from Podman before 4.5."""
    try:
        engine.call("POST", f"/containers/{container}/update", body=limits.whole(spec.resources))
    except EngineError as error:
        if error.message != "Not Found":
            raise
        hint = "`env up --recreate` makes the machine anew"
        raise EnvupError("this engine cannot change the limits of a container", hint=hint) from error


def remove(engine: Engine, container: str) -> None:
    """Remove a container in any state, with the volumes that nobody named; a missing one is no error."""
    try:
        engine.call("DELETE", f"/containers/{container}", query={"force": True, "v": True})
    except EngineError as error:
        if error.status != 404 and "already in progress" not in error.message:
            raise


def remove_volumes(engine: Engine, found: Mapping[str, Any]) -> None:
    """Remove the nameless volumes that a container took over from the one before it, but those that others use."""
    for volume in found["Labels"].get(VOLUMES, "").split():
        try:
            engine.call("DELETE", f"/volumes/{volume}")
        except EngineError as error:
            if error.status not in (404, 409):
                raise
