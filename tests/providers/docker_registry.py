"""A registry of images on the loopback interface, and images to keep there."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from docker_engines import PATIENCE

from envup_docker.engine import Engine

USER, PASSWORD = "anna", "secret"
_HASH = "$2b$04$pzu65s2hG8DlWOvBat3XO.DsW1/G5vlbtVwiJqK01wBFHgsePYYp6"
_PROGRAM = "docker-registry"


@contextlib.contextmanager
def registry(directory: Path, *, private: bool = False) -> Iterator[str]:
    """The address of a running one; a private one lets USER in and nobody else."""
    address = f"127.0.0.1:{_free_port()}"
    config = {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(directory / "registry")}, "delete": {"enabled": True}},
        "http": {"addr": address, "secret": "of the test"},
    }
    if private:
        (directory / "users").write_text(f"{USER}:{_HASH}\n")
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(directory / "users")}}
    (directory / "registry.yml").write_text(json.dumps(config))
    with subprocess.Popen([_PROGRAM, "serve", str(directory / "registry.yml")]) as process:
        try:
            _await(address, process)
            yield address
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _await(address: str, process: subprocess.Popen[bytes]) -> None:
    host, _, port = address.partition(":")
    while process.poll() is None:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection((host, int(port))):
            return
    raise AssertionError(f"{_PROGRAM} ended with {process.returncode}")


def push(engine: Engine, image: str, name: str, account: Mapping[str, str] | None = None) -> str:
    """Put an image there as `REGISTRY/REPOSITORY:TAG`, and nowhere else; its digest there."""
    repository, _, tag = name.rpartition(":")
    engine.call("POST", f"/images/{image}/tag", query={"repo": repository, "tag": tag})
    try:
        headers = {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(account or {}).encode()).decode()}
        with engine.stream("POST", f"/images/{repository}/push", query={"tag": tag}, headers=headers) as answer:
            said = list(answer.lines())
        digests = [line["aux"]["Digest"] for line in said if "aux" in line]
        assert digests, said
        return str(digests[0])
    finally:
        engine.call("DELETE", f"/images/{name}")
