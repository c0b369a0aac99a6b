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
from envup_docker.containers import listed, name
from envup_docker.engine import Engine, EngineError


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
        made = _make(engine, network, environment)
        _bring_in(engine, network, environment)
    joined = (found["NetworkSettings"]["Networks"].get(network) or {}).get("NetworkID", "")
    if joined and joined != made:
        _join_again(engine, network, found["Id"], settings.aliases(spec))


def _make(engine: Engine, network: str, environment: str) -> str:
    """The id of the network."""
    body = {"Name": network, "CheckDuplicate": True, "Labels": {"envup.environment": environment}}
    try:
        made: str = engine.call("POST", "/networks/create", body=body)["Id"]
    except EngineError as error:
        if error.status != 409:
            raise
        made = engine.call("GET", f"/networks/{network}")["Id"]
    return made


def _bring_in(engine: Engine, network: str, environment: str) -> None:
    for one in listed(engine, f"envup.environment={environment}"):
        networks = one["NetworkSettings"]["Networks"]
        if one["State"] == "running" and network not in networks and "bridge" in networks:
            aliases = {"Aliases": [one["Labels"]["envup.machine"]]}
            engine.call(
                "POST", f"/networks/{network}/connect", body={"Container": one["Id"], "EndpointConfig": aliases}
            )


def _join_again(engine: Engine, network: str, container: str, aliases: list[str]) -> None:
    """Have a container that knows a former network of that name use the present one."""
    engine.call("POST", f"/networks/{network}/disconnect", body={"Container": container, "Force": True})
    body = {"Container": container, "EndpointConfig": {"Aliases": aliases}}
    engine.call("POST", f"/networks/{network}/connect", body=body)


def leave(engine: Engine, labels: Mapping[str, str]) -> None:
    """Remove the environment's network, if this machine, which does not run any more, is the last that refers to it; a
    missing one is no error. To be called with `locked`."""
    environment, own = labels["envup.environment"], f"/{name(labels)}"
    others = [one for one in listed(engine, f"envup.environment={environment}") if not _is_of(one, own)]
    if others:
        return
    try:
        engine.call("DELETE", f"/networks/{of(environment)}")
    except EngineError as error:
        if error.status != 404:
            raise


def _is_of(one: Mapping[str, Any], own: str) -> bool:
    return any(called.removesuffix(".next") == own for called in one["Names"])
