"""Which engine is meant, and how its address is written down."""

from __future__ import annotations

import hashlib
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from envup_docker import endpoint, transports
from envup_docker.endpoint import Endpoint
from envup_docker.failures import EngineError


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A directory of Docker's configuration without contexts."""
    directory = tmp_path / "docker"
    directory.mkdir()
    return directory


def add_context(config: Path, name: str, host: str, *, certificates: bool = False, **docker: Any) -> Path:
    key = hashlib.sha256(name.encode()).hexdigest()
    meta = config / "contexts/meta" / key
    meta.mkdir(parents=True)
    described = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host, **docker}}}
    (meta / "meta.json").write_text(json.dumps(described))
    tls = config / "contexts/tls" / key / "docker"
    if certificates:
        tls.mkdir(parents=True)
    return tls


def found(config: Path, **environ: str) -> Endpoint:
    return endpoint.find({"DOCKER_CONFIG": str(config), **environ})


@pytest.mark.parametrize("host", ["unix:///tmp/x.sock", "tcp://box:2375", "ssh://me@box"])
def test_docker_host_comes_first(config: Path, host: str) -> None:
    add_context(config, "other", "tcp://other:1")
    assert found(config, DOCKER_HOST=host, DOCKER_CONTEXT="other").address == host


def test_tls_is_as_dockers_variables_say(config: Path) -> None:
    plain = found(config, DOCKER_HOST="tcp://box:2375")
    checked = found(config, DOCKER_HOST="tcp://box:2376", DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH="/certs")
    unchecked = found(config, DOCKER_HOST="tcp://box:2376", DOCKER_TLS="1")
    assert (plain.tls, checked.tls, unchecked.tls) == (False, True, True)
    assert (checked.verify, checked.certificates) == (True, "/certs")
    assert (unchecked.verify, unchecked.certificates) == (False, str(config))


def test_the_current_context_is_used(config: Path) -> None:
    tls = add_context(config, "far", "tcp://far:2376", certificates=True, SkipTLSVerify=True)
    (config / "config.json").write_text('{"currentContext": "far"}')
    far = found(config)
    assert (far.address, far.tls, far.certificates, far.verify) == ("tcp://far:2376", True, str(tls), False)
    assert found(config, DOCKER_CONTEXT="default").scheme == "unix"


def test_docker_context_names_another(config: Path) -> None:
    add_context(config, "near", "unix:///near.sock")
    assert found(config, DOCKER_CONTEXT="near").address == "unix:///near.sock"


def test_a_context_that_is_missing_is_an_error_that_names_it(config: Path) -> None:
    with pytest.raises(EngineError, match="'nowhere'"):
        found(config, DOCKER_CONTEXT="nowhere")


def test_a_damaged_configuration_is_an_error_that_names_it(config: Path) -> None:
    (config / "config.json").write_text("{")
    with pytest.raises(EngineError, match=r"config\.json"):
        found(config)


def test_a_configuration_without_a_context_means_the_default(config: Path) -> None:
    (config / "config.json").write_text('{"auths": {}}')
    assert found(config).scheme == "unix"


def test_the_first_socket_that_may_be_used_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "_DEFAULT", str(tmp_path / "none.sock"))
    mine = tmp_path / "run" / "docker.sock"
    mine.parent.mkdir()
    environ = {"DOCKER_CONFIG": str(tmp_path), "XDG_RUNTIME_DIR": str(mine.parent)}
    assert endpoint.find(environ).rest in (str(tmp_path / "none.sock"), "/run/podman/podman.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(mine))
        assert endpoint.find(environ).rest == str(mine)


@pytest.mark.parametrize("address", ["box:2375", "npipe:////./pipe/docker", "unix://", "", "://x"])
def test_what_is_no_address_is_an_error_with_a_remedy(address: str) -> None:
    with pytest.raises(EngineError) as caught:
        Endpoint(address)
    assert "tcp://HOST:2375" in caught.value.hint


@pytest.mark.parametrize(
    "where",
    [
        Endpoint("unix:///tmp/with space=and equals.sock"),
        Endpoint("tcp://box:2375"),
        Endpoint("tcp://box", tls=True, certificates="/c=d", verify=True),
        Endpoint("https://box:2376", verify=False),
    ],
)
def test_an_endpoint_travels_on_a_command_line(where: Endpoint) -> None:
    again = endpoint.parsed(dict(argument.partition("=")[::2] for argument in where.arguments()))
    for name in Endpoint.__slots__:
        assert getattr(again, name) == getattr(where, name)


@pytest.mark.parametrize(
    ("address", "tls", "host", "port"),
    [
        ("tcp://box:99", False, "box", 99),
        ("tcp://box:99/", False, "box", 99),
        ("tcp://box", False, "box", 2375),
        ("tcp://box", True, "box", 2376),
        ("tcp://[::1]:99", False, "::1", 99),
        ("tcp://[fe80::1]", False, "fe80::1", 2375),
    ],
)
def test_hosts_and_ports_are_read(address: str, tls: bool, host: str, port: int) -> None:
    assert transports.host_and_port(Endpoint(address, tls=tls)) == (host, port)


def test_a_port_that_is_none_is_an_error() -> None:
    with pytest.raises(EngineError):
        transports.host_and_port(Endpoint("tcp://box:http"))
