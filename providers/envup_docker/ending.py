"""Stopping and destroying the container of a machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from envup_docker import containers, images, networks, remaking, snapshots
from envup_docker.engine import Engine, EngineError

_IS_GONE, _DOES_NOT_RUN = 404, 409


def stop(engine: Engine, container: str, grace: float) -> None:
    """Ask the first program to end, kill all after `grace` seconds; a container that does not run or is gone is no
    error."""
    try:
        state = engine.call("GET", f"/containers/{container}/json")
    except EngineError as error:
        if error.status == _IS_GONE:
            return
        raise
    if not state["State"]["Running"]:
        return
    if state["State"]["Paused"]:
        engine.call("POST", f"/containers/{container}/unpause")
    if grace > 0:
        _signal(engine, container, state["Config"].get("StopSignal") or "SIGTERM")
        if ended(engine, container, grace):
            return
    _signal(engine, container, "SIGKILL")
    ended(engine, container, None)


def _signal(engine: Engine, container: str, signal: str) -> None:
    try:
        engine.call("POST", f"/containers/{container}/kill", query={"signal": signal})
    except EngineError as error:
        if error.status not in (_IS_GONE, _DOES_NOT_RUN) and "only kill running" not in error.message:
            raise


def ended(engine: Engine, container: str, seconds: float | None) -> bool:
    """Wait for the event of its end; whether that came in time."""
    try:
        engine.call("POST", f"/containers/{container}/wait", query={"condition": "not-running"}, timeout=seconds)
    except EngineError as error:
        if error.status == 0 and seconds is not None:
            return False
        if error.status != _IS_GONE:
            raise
    return True


def destroy(engine: Engine, runtime: Path, labels: Mapping[str, str]) -> None:
    """Remove all that was made for a machine, snapshots first, while it is there to be destroyed again. The network
    goes before the last container that refers to it, after it where the engine wants it so; one that somebody put a
    container of their own in stays."""
    committed = images.of_environment(engine, labels["envup.environment"])
    snapshots.delete_all(engine, committed, labels["envup.machine"])
    found = containers.of_machine(engine, labels)
    for one in found:
        if one["State"] in ("running", "restarting", "paused"):
            _signal(engine, one["Id"], "SIGKILL")
    environment = labels["envup.environment"]
    if any(networks.of(environment) in containers.networks_of(one) for one in found):
        with networks.locked(runtime, environment):
            is_settled = networks.leave(engine, labels)
            _remove(engine, found)
            if not is_settled:
                networks.remove(engine, environment)
    else:
        _remove(engine, found)
    if committed:
        remaking.remove_commits(engine, labels)


def _remove(engine: Engine, found: Sequence[Mapping[str, Any]]) -> None:
    for one in found:
        containers.remove(engine, one["Id"])
        containers.remove_volumes(engine, one)
