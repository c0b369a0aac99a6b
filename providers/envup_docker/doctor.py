"""What the Docker provider needs on this host: an engine that answers, in one question."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

from envup.provider import Check
from envup_docker import endpoint
from envup_docker.engine import Engine, EngineError

LEAST_API = (1, 40)
"""Version of the engine's API that Docker 19.03 and Podman 3 speak:
https://docs.docker.com/reference/api/engine/version-history/."""

_PATIENCE = 5.0
"""Seconds that an engine may take to say its version."""


def examine(environ: Mapping[str, str]) -> list[Check]:
    """Every need of the user with these environment variables, met or not. A missing package is told and is no
    obstacle until an image must be pulled or built."""
    return [_engine(environ), _package()]


def _engine(environ: Mapping[str, str]) -> Check:
    try:
        where = endpoint.find(environ)
        engine = Engine(where)
        with engine.stream("GET", "/_ping", timeout=_PATIENCE) as answer:
            answer.read()
        version = answer.headers["server"].partition(" ")[0]
        api = tuple(map(int, answer.headers["api-version"].split(".")))
    except EngineError as error:
        return Check("engine", False, error.message, error.hint)
    except (LookupError, ValueError):
        remedy = "see that DOCKER_HOST or the Docker context names an engine"
        return Check("engine", False, f"what answers at {where} is no Docker engine", remedy)
    if api < LEAST_API:
        return Check("engine", False, f"the engine at {where} is {version}, too old", "use Docker 19.03 or later")
    return Check("engine", True, f"{version} at {where}")


def _package() -> Check:
    if importlib.util.find_spec("docker"):
        return Check("python package docker", True)
    message = "missing; needed to pull with credentials and to build images"
    return Check("python package docker", True, message, "pip install 'envup[docker]'")
