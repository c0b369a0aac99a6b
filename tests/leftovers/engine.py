"""What is left in the Docker engine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import docker


@contextlib.contextmanager
def _asked() -> Iterator[Any]:
    client = docker.from_env()
    try:
        yield client.api
    finally:
        client.close()


def left(environment: str, digests: set[str]) -> dict[str, list[str]]:
    """What the engine has of an environment, and images with one of these digests that have no name."""
    label = {"label": [f"envup.environment={environment}"]}
    with _asked() as ask:
        containers = [*ask.containers(all=True, filters=label), *ask.containers(all=True, filters=_named(environment))]
        networks = [one["Name"] for one in ask.networks(filters={"name": f"envup-{environment}"})]
        committed = ask.images(all=True, filters=label)
        nameless = ask.images(filters={"label": ["envup.image"], "dangling": True})
    half_made = [one["Id"] for one in nameless if one["Labels"]["envup.image"] in digests]
    return {
        "containers": sorted({f"{one['Names']} {one['State']}" for one in containers}),
        "networks": networks,
        "committed images": [one["Id"] for one in committed],
        "half-made images": half_made,
    }


def _named(environment: str) -> dict[str, list[str]]:
    return {"name": [f"envup-{environment}-"]}


def forget_image(digest: str) -> None:
    """Remove what was imported under this digest, so that it has to be imported anew."""
    name = f"envup/image:{digest.rpartition(':')[2]}"
    with _asked() as ask, contextlib.suppress(docker.errors.ImageNotFound):
        ask.remove_image(name)


def nameless_volumes(since: float) -> list[str]:
    """Volumes that nobody named and no container refers to, made since then (seconds since the epoch)."""
    from datetime import datetime

    with _asked() as ask:
        found = ask.volumes(filters={"dangling": True})["Volumes"] or []
    return [
        one["Name"]
        for one in found
        if len(one["Name"]) == 64 and datetime.fromisoformat(one["CreatedAt"]).timestamp() >= int(since)
    ]


def others(environment: str) -> set[str]:
    """What the networks and containers of others account for on the host: bridges, addresses, network namespaces."""
    with _asked() as ask:
        networks = {one["Id"][:12]: one for one in ask.networks()}
        found = {f"br-{number}" for number, one in networks.items() if one["Name"] != f"envup-{environment}"}
        for one in ask.containers(filters={"status": "running"}):
            if one["Labels"].get("envup.environment") == environment:
                continue
            found |= {network["IPAddress"] for network in one["NetworkSettings"]["Networks"].values()}
            with contextlib.suppress(docker.errors.NotFound):
                found.add(ask.inspect_container(one["Id"])["NetworkSettings"]["SandboxKey"].replace("/var/run", "/run"))
    return found - {""}
