"""The containers of machines: found by their labels, made, and made again where a declaration changed.

A machine is the container `envup-<environment>-<machine>`. What is fixed when a container is made (mounts, ports,
variables …) is changed by making another from a commit of the old one, under the same name with `.next` behind it,
which takes the old one's place by a rename. At every moment one of the two is the machine: the one with the plain name
where it is there, else the other.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from typing import Any

from envup.errors import EnvupError
from envup.provider import Instance, MachineSpec, Port
from envup_docker import settings
from envup_docker.engine import Engine, EngineError

NEXT = ".next"
INSTANCE, CONFIG, VOLUMES = "envup.instance", "envup.config", "envup.volumes"
_OWN = (INSTANCE, CONFIG, VOLUMES)
_STATES = {"created": "created", "running": "running", "restarting": "running", "paused": "suspended"}
_STATES |= {"exited": "stopped"}
_EVERYWHERE = ("", "0.0.0.0", "::")


def name(labels: Mapping[str, str]) -> str:
    """The name of a machine's container."""
    return f"envup-{labels['envup.environment']}-{labels['envup.machine']}"


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
        labels = one["Labels"]
        key = (labels.get("envup.environment", ""), labels.get("envup.machine", ""))
        if all(key) and (key not in machines or not _is_next(one)):
            machines[key] = one
    return [_instance(machines[key]) for key in sorted(machines)]


def _is_next(one: Mapping[str, Any]) -> bool:
    return all(name.endswith(NEXT) for name in one["Names"])


def _instance(one: Mapping[str, Any]) -> Instance:
    labels = {key: value for key, value in one["Labels"].items() if key.startswith("envup.") and key not in _OWN}
    state = _STATES.get(one["State"], "broken")
    reason = f"the engine says: {one['State']}" if state == "broken" else ""
    if state == "created" and VOLUMES in one["Labels"]:
        state = "stopped"
    networks = (one.get("NetworkSettings") or {}).get("Networks") or {}
    addresses = tuple(net["IPAddress"] for net in networks.values() if net.get("IPAddress"))
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


def create(engine: Engine, spec: MachineSpec, image: str, labels: Mapping[str, str]) -> None:
    """Make the container of a machine. Errors: `EngineError`; `EnvupError` when the machine exists."""
    body = settings.container(spec, labels["envup.environment"])
    own = {INSTANCE: os.urandom(16).hex(), CONFIG: settings.digest(body)}
    try:
        _make(engine, name(labels), spec, image, body, {**labels, **own})
    except EngineError as error:
        if error.status != 409 or "already in use" not in error.message:
            raise
        whose = seen(of_machine(engine, labels))
        brief = f"machine '{spec.name}' exists already" if whose else f"the name {name(labels)} is taken in the engine"
        raise EnvupError(brief, details=error.message, hint=f"docker rm {name(labels)}" * (not whose)) from error


def _make(
    engine: Engine, called: str, spec: MachineSpec, image: str, body: Mapping[str, Any], labels: Mapping[str, str]
) -> None:
    declared = {key: str(value) for key, value in settings.options(spec).get("labels", {}).items()}
    limits = settings.declared_limits(spec.resources)
    whole = {
        **body,
        "Image": image,
        "Labels": {**declared, **labels},
        "HostConfig": {**body["HostConfig"], **limits},
    }
    engine.call("POST", "/containers/create", query={"name": called}, body=whole)


def inspect(engine: Engine, labels: Mapping[str, str]) -> dict[str, Any]:
    """All that the engine says of a machine's container, after an interrupted re-creation was brought to its end.
    Errors: `EnvupError` when there is none."""
    plain = name(labels)
    with contextlib.suppress(EngineError):
        return _look(engine, plain)
    with contextlib.suppress(EngineError):
        engine.call("POST", f"/containers/{plain}{NEXT}/rename", query={"name": plain})
    try:
        return _look(engine, plain)
    except EngineError as error:
        if error.status != 404:
            raise
        raise EnvupError(f"machine '{labels['envup.machine']}' does not exist", hint="`env up` makes it") from error


def _look(engine: Engine, called: str) -> dict[str, Any]:
    found: dict[str, Any] = engine.call("GET", f"/containers/{called}/json")
    return found


def fit(engine: Engine, spec: MachineSpec, found: Mapping[str, Any]) -> None:
    """Have the stopped container `found` be as `spec` says: with other limits, or made again."""
    labels = found["Config"]["Labels"]
    body = settings.container(spec, labels["envup.environment"])
    if settings.digest(body) != labels.get(CONFIG):
        _remake(engine, spec, found, body)
    elif _limits_of(found["HostConfig"]) != settings.declared_limits(spec.resources):
        update(engine, spec, labels)


def _limits_of(host: Mapping[str, Any]) -> dict[str, int]:
    found = {key: host.get(key) or 0 for key in ("Memory", "MemorySwap", "CpuPeriod", "CpuQuota", "PidsLimit")}
    if found["CpuQuota"] <= 0:
        del found["CpuPeriod"]
    return {key: value for key, value in found.items() if 0 < value < settings.UNLIMITED_MEMORY}


def update(engine: Engine, spec: MachineSpec, labels: Mapping[str, str]) -> None:
    """Set and lift limits, whether it runs or not. Errors: `EngineError`."""
    engine.call("POST", f"/containers/{name(labels)}/update", body=settings.limits(spec.resources))


def _remake(engine: Engine, spec: MachineSpec, found: Mapping[str, Any], body: Mapping[str, Any]) -> None:
    """Make the container again without losing what was written in it."""
    labels = dict(found["Config"]["Labels"])
    plain, old = name(labels), found["Id"]
    remove(engine, f"{plain}{NEXT}")
    volumes = _anonymous(found)
    kept = [{"Type": "volume", "Source": volume, "Target": target} for volume, target in volumes]
    body = {**body, "HostConfig": {**body["HostConfig"], "Mounts": [*body["HostConfig"]["Mounts"], *kept]}}
    everything = {label: value for label, value in labels.items() if label.startswith("envup.")}
    gone = {*everything.get(VOLUMES, "").split(), *(volume for volume, _target in volumes)}
    everything |= {CONFIG: settings.digest(settings.container(spec, labels["envup.environment"]))}
    everything |= {VOLUMES: " ".join(sorted(gone))}
    _make(engine, f"{plain}{NEXT}", spec, _commit(engine, found, labels), body, everything)
    engine.call("DELETE", f"/containers/{old}")
    engine.call("POST", f"/containers/{plain}{NEXT}/rename", query={"name": plain})
    remove_commits(engine, labels, but=_look(engine, plain)["Image"])


def _anonymous(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, path) of the volumes that the engine made for the image's sake, and of those that were carried over."""
    declared = {one["Target"] for one in found["HostConfig"].get("Mounts") or () if one["Type"] == "volume"}
    carried = found["Config"]["Labels"].get(VOLUMES, "").split()
    return [
        (mount["Name"], mount["Destination"])
        for mount in found["Mounts"]
        if mount["Type"] == "volume" and (mount["Destination"] not in declared or mount["Name"] in carried)
    ]


def _commit(engine: Engine, found: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    """The image to make it from: that of the container, or what it wrote as one, where it was started before."""
    if found["State"]["Status"] == "created" and VOLUMES not in labels:
        image: str = found["Image"]
        return image
    tag = f"{labels['envup.machine'].lower()}-{os.urandom(4).hex()}"
    query = {
        "container": found["Id"],
        "repo": f"envup/{labels['envup.environment'].lower()}",
        "tag": tag,
        "pause": False,
    }
    body = {"Labels": {**_of(labels), "envup.commit": "1"}}
    made: str = engine.call("POST", "/commit", query=query, body=body)["Id"]
    return made


def _of(labels: Mapping[str, str]) -> dict[str, str]:
    return {key: labels[key] for key in ("envup.environment", "envup.machine")}


def remove_commits(engine: Engine, labels: Mapping[str, str], *, but: str = "") -> None:
    """Remove what `start` committed of a machine, the image `but` apart."""
    wanted = ["envup.commit", *(f"{key}={value}" for key, value in _of(labels).items())]
    for image in engine.call("GET", "/images/json", query={"filters": {"label": wanted}}):
        if image["Id"] != but:
            for tag in image["RepoTags"] or [image["Id"]]:
                with contextlib.suppress(EngineError):  # one below a newer commit goes with that
                    engine.call("DELETE", f"/images/{tag}")


def remove(engine: Engine, container: str) -> None:
    """Remove a container in any state, with the volumes that nobody named; a missing one is no error."""
    try:
        engine.call("DELETE", f"/containers/{container}", query={"force": True, "v": True})
    except EngineError as error:
        if error.status != 404 and "already in progress" not in error.message:
            raise


def remove_volumes(engine: Engine, found: Mapping[str, Any]) -> None:
    """Remove the nameless volumes that a container took over from the one before it."""
    for volume in found["Labels"].get(VOLUMES, "").split():
        with contextlib.suppress(EngineError):
            engine.call("DELETE", f"/volumes/{volume}")
