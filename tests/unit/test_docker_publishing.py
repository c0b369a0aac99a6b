"""Host ports that an engine refuses, in the words of engines."""

from __future__ import annotations

import pytest

from envup.errors import EnvupError
from envup.model import ImageReference
from envup.provider import MachineSpec, Port
from envup_docker import publishing
from envup_docker.failures import EngineError

BEFORE = "driver failed programming external connectivity on endpoint envup-x-default (0a1b): "
PROXY = f"{BEFORE}Error starting userland proxy: "


def told(message: str, *ports: Port) -> EnvupError:
    spec = MachineSpec(name="web", image=ImageReference("host"), provider="docker", ports=ports)
    with pytest.raises(EnvupError) as caught, publishing.telling(spec):
        raise EngineError(500, message)
    assert caught.value.details == message
    return caught.value


@pytest.mark.parametrize(
    ("message", "port", "shown", "command"),
    [
        (f"{BEFORE}Bind for 0.0.0.0:80 failed: port is already allocated", Port(8, 80), "0.0.0.0:80/tcp", "ss -ltnp"),
        (f"{PROXY}listen tcp4 0.0.0.0:80: bind: address already in use", Port(8, 80), "0.0.0.0:80/tcp", "ss -ltnp"),
        (
            f"{PROXY}listen udp4 127.0.0.1:80: bind: address already in use",
            Port(8, 80, "127.0.0.1", "udp"),
            "127.0.0.1:80/udp",
            "ss -lunp",
        ),
        ("rootlessport listen tcp [::1]:80: bind: address already in use", Port(8, 80), "[::1]:80/tcp", "ss -ltnp"),
        ("cannot listen: listen tcp4 :80: bind: address already in use", Port(8, 80), "0.0.0.0:80/tcp", "ss -ltnp"),
    ],
)
def test_a_port_that_is_taken_is_named_with_the_command_that_shows_its_owner(
    message: str, port: Port, shown: str, command: str
) -> None:
    error = told(message, port)
    assert error.brief == f"the engine cannot forward {shown} to machine 'web': it is taken"
    assert f"{command} 'sport = :80'" in error.hint
    assert "docker ps --filter publish=80`" in error.hint


def test_of_two_ports_of_one_number_the_one_is_named_that_the_engine_means() -> None:
    both = Port(8, 80, protocol="tcp"), Port(9, 80, protocol="udp")
    assert ":80/udp" in told(f"{PROXY}listen udp4 0.0.0.0:80: bind: address already in use", *both).brief
    assert ":80/tcp" in told(f"{PROXY}listen tcp4 0.0.0.0:80: bind: address already in use", *both).brief


def test_other_reasons_have_remedies_of_their_own() -> None:
    error = told(f"{PROXY}listen tcp4 192.0.2.1:80: bind: cannot assign requested address", Port(8, 80, "192.0.2.1"))
    assert "no such address" in error.brief and "ip -brief address" in error.hint
    error = told("rootlessport listen tcp 0.0.0.0:80: bind: permission denied", Port(8, 80))
    assert "not allowed" in error.brief and "ip_unprivileged_port_start=80" in error.hint


@pytest.mark.parametrize(
    "message", ["no such network", f"{BEFORE}Bind for 0.0.0.0:81 failed: port is already allocated"]
)
def test_what_is_not_about_a_port_of_the_machine_is_left_alone(message: str) -> None:
    spec = MachineSpec(name="web", image=ImageReference("host"), provider="docker", ports=(Port(8, 80),))
    with pytest.raises(EngineError) as caught, publishing.telling(spec):
        raise EngineError(500, message)
    assert caught.value.message == message
