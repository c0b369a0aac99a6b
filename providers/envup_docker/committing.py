"""Images that are committed from containers to outlive them.

A commit takes over the configuration of its container: each variable that the image does not declare stays without its
value, and so does each label, as secrets may be among them; its program is left out. Docker's own image store keeps the
container's configuration beside that of the image all the same (`container_config`, as `docker image save` shows it).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envup_docker.containers import BASE, LAYER
from envup_docker.engine import Engine

_OTHER_STORE = "io.containerd.snapshotter"
"""How the type of the driver begins where images are in containerd's store: it keeps an image's configuration alone."""

OF_A_MACHINE = ("envup.environment", "envup.machine", "envup.project", "envup.spec", "envup.pin", "envup.variables")


def base_of(found: Mapping[str, Any]) -> str:
    """The id of the image that the machine of a container began with, below all of its layers."""
    return str(found["Config"]["Labels"].get(BASE, found["Image"]))


def leaves_secrets(info: Mapping[str, Any]) -> bool:
    """Whether variables, labels and program of a container may stay with what is committed from it, in an engine that
    says this of itself; also where that is not known, as of Podman."""
    return not any(str(text).startswith(_OTHER_STORE) for _name, text in info.get("DriverStatus") or ())


def commit(
    engine: Engine, found: Mapping[str, Any], repository: str, tag: str, labels: Mapping[str, str], *, pause: bool
) -> None:
    """Commit the container that the engine describes so under a name, with these labels of envup's beside those of the
    image. `pause`: the engine has its programs stand still meanwhile. Errors: `EngineError`."""
    config, image = found["Config"], base_of(found)
    base = engine.call("GET", f"/images/{image}/json")["Config"]
    declared, own = base.get("Env") or [], base.get("Labels") or {}
    known = {line.partition("=")[0] for line in declared}
    others = {line.partition("=")[0] for line in config.get("Env") or []} - known
    kept = {label: value for label, value in config["Labels"].items() if label.startswith(LAYER) or label in own}
    body = {
        "Entrypoint": ["/bin/sh"],  # without one the engine takes the container's, and its arguments
        "Cmd": [],
        "Env": [*declared, *(f"{name}=" for name in sorted(others))],
        "Labels": {**dict.fromkeys(config["Labels"], ""), **kept, **own, BASE: image, **labels},
    }
    query = {"container": found["Id"], "repo": repository, "tag": tag, "pause": pause}
    engine.call("POST", "/commit", query=query, body=body)
