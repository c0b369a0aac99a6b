"""The network of an environment, in which machines find each other by name.

It is there while a container refers to it. Whoever makes or removes it holds a lock of this host.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from envup.provider import MachineSpec
from envup_docker import settings
from envup_docker.containers import listed, look, name, networks_of
from envup_docker.engine import Engine, EngineError

_IN_USE = ("active endpoints", "being used")
"""Docker's refusal to remove a network, and Podman's."""


def of(environment: str) -> str:
    """The name of an environment's network."""
    return settings.NETWORK.format(environment=environment)


@contextlib.contextmanager
def locked(runtime: Path, environment: str) -> Iterator[None]:
    """Hold the lock of an environment's network."""
    with (runtime / f"{environment}.network").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def ensure(engine: Engine, runtime: Path, spec: MachineSpec, found: Mapping[str, Any]) -> None:
    """Make what the stopped container `found` starts on, if that is its environment's and missing, and bring the
    machines in that were alone until now. Errors: `EngineError`."""
    labels = found["Config"]["Labels"]
    environment = labels["envup.environment"]
    network = of(environment)
    if settings.network(spec, environment) != network:
        return
    with locked(runtime, environment):
        made = make(engine, environment)
        _bring_in(engine, network, environment)
    joined = (networks_of(found).get(network) or {}).get("NetworkID", "")
    if joined and joined != made:
        _part(engine, network, name(labels))
        _join(engine, network, name(labels), settings.aliases(spec))


def make(engine: Engine, environment: str) -> str:
    """The id of an environment's network, which is made where it is missing. Errors: `EngineError`."""
    network = of(environment)
    body = {"Name": network, "CheckDuplicate": True, "Labels": {"envup.environment": environment}}
    try:
        made: str = engine.call("POST", "/networks/create", body=body)["Id"]
    except EngineError as error:
        if "already" not in error.message:
            raise
        made = engine.call("GET", f"/networks/{network}")["Id"]
    return made


def _bring_in(engine: Engine, network: str, environment: str) -> None:
    for one in listed(engine, f"envup.environment={environment}"):
        networks = networks_of(one)
        if one["State"] == "running" and network not in networks and "bridge" in networks:
            hostname = look(engine, one["Id"])["Config"]["Hostname"]
            _join(engine, network, one["Id"], [one["Labels"]["envup.machine"], hostname])


def _join(engine: Engine, network: str, container: str, aliases: list[str]) -> None:
    body = {"Container": container, "EndpointConfig": {"Aliases": aliases}}
    _change(engine, network, "connect", body)


def _part(engine: Engine, network: str, container: str) -> None:
    """Take a container out of a network; one that is no part of it is no error."""
    try:
        _change(engine, network, "disconnect", {"Container": container, "Force": True})
    except EngineError as error:
        if error.status not in (403, 404) and "is not connected" not in error.message:
            raise


def _change(engine: Engine, network: str, verb: str, body: object) -> None:
    """The answer is for people."""
    with engine.stream("POST", f"/networks/{network}/{verb}", body=body) as answer:
        answer.read()


def leave(engine: Engine, labels: Mapping[str, str]) -> bool:
    """Remove the environment's network, if this machine, which does not run any more, is the last that refers to it.
    False where that is refused because of what is in it. To be called with `locked`. Errors: `EngineError`."""
    environment, machine = labels["envup.environment"], labels["envup.machine"]
    everybody = listed(engine, f"envup.environment={environment}")
    if any(one["Labels"].get("envup.machine") != machine for one in everybody):
        return True
    return remove(engine, environment)


def remove(engine: Engine, environment: str) -> bool:
    """Remove an environment's network, a missing one is no error; False where it is in use. Errors: `EngineError`."""
    try:
        engine.call("DELETE", f"/networks/{of(environment)}")
    except EngineError as error:
        if any(sign in error.message for sign in _IN_USE):
            return False
        if error.status != 404:
            raise
    return True
