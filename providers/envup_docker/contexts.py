"""The contexts of Docker's command line: named engines in ~/.docker/contexts."""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH110, PTH123

from __future__ import annotations

import hashlib
import os

from envup_docker import plainjson
from envup_docker.endpoint import Endpoint
from envup_docker.failures import EngineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def find(directory: str, name: str) -> Endpoint | None:
    """The engine of the context `name`, of the current one when that is empty; None where it is the default one.
    `directory` is that of Docker's configuration. Errors: `EngineError`."""
    name = name or str(_read(f"{directory}/config.json").get("currentContext") or "")
    if name in ("", "default"):
        return None
    key = hashlib.sha256(name.encode()).hexdigest()
    if not os.path.exists(f"{directory}/contexts/meta/{key}/meta.json"):
        raise EngineError(
            0, f"there is no Docker context '{name}'", "docker context ls shows those there are; docker context use"
        )
    described = _read(f"{directory}/contexts/meta/{key}/meta.json").get("Endpoints", {}).get("docker", {})
    if not described.get("Host"):
        return None
    certificates = f"{directory}/contexts/tls/{key}/docker"
    return Endpoint(
        described["Host"],
        tls=described["Host"].startswith("tcp://") and os.path.exists(certificates),
        certificates=certificates,
        verify=not described.get("SkipTLSVerify", False),
    )


def _read(path: str) -> Any:
    try:
        with open(path, "rb") as file:
            return plainjson.loads(file.read())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise EngineError(0, f"{path} cannot be read: {error}", "mend or remove it") from error
