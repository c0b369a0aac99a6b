"""Whether a machine is ready: what is asked where, and what is told when it is not."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from local_provider import INSTANCE, Bench

from envup.errors import EnvupError
from envup.model import Probe
from envup.probe import wait_until_ready
from envup.provider import Dial, Instance
from envup.value import replace


class Answering(http.server.BaseHTTPRequestHandler):
    """Knows one page."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/up" else 404)
        self.end_headers()

    def log_message(self, *_arguments: Any) -> None:
        return None


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


@pytest.fixture
def served() -> Iterator[int]:
    """The port of a web server on the host's loopback."""
    with http.server.HTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def details(bench: Bench, kind: str, value: Any) -> str:
    """What is told of a machine that does not become ready."""
    with pytest.raises(EnvupError, match=r"not ready within 0\.1 s") as caught:
        wait_until_ready(Probe(kind, value, timeout=0.1), bench.machine)
    return caught.value.details


def test_a_machine_without_an_address_is_asked_at_the_hosts_loopback(bench: Bench, served: int) -> None:
    wait_until_ready(Probe("tcp", served), bench.machine)
    wait_until_ready(Probe("http", {"port": served, "path": "/up"}), bench.machine)
    wait_until_ready(Probe("http", {"port": served, "status": 404}), bench.machine)


def test_another_status_is_told_with_the_address(bench: Bench, served: int) -> None:
    told = details(bench, "http", {"port": served, "path": "/"})
    assert told == f"the last answer to http://127.0.0.1:{served}/, asked from the host: status 404"


def test_a_machine_with_an_address_is_asked_there(bench: Bench, served: int) -> None:
    bench.machine.instance = replace(INSTANCE, addresses=("127.0.0.2",))
    told = details(bench, "tcp", served)
    assert told == f"the last answer to tcp port {served} of 127.0.0.2, asked from the host: Connection refused"


def test_an_address_of_ipv6_is_told_in_brackets(bench: Bench, served: int) -> None:
    bench.machine.instance = replace(INSTANCE, addresses=("::1",))
    assert details(bench, "http", {"port": served}).startswith(f"the last answer to http://[::1]:{served}/, asked")


def test_a_command_is_told_with_what_it_said(bench: Bench) -> None:
    told = details(bench, "command", "echo not yet; exit 3")
    assert told == "the last answer to command echo not yet; exit 3: exit code 3\nnot yet"


def test_a_provider_that_dials_is_asked_to(bench: Bench, served: int) -> None:
    asked = []

    class Dialling(type(bench.provider), Dial):  # type: ignore[misc]
        def dial(self, instance: Instance, port: int, *, timeout: float = 10.0) -> socket.socket:
            asked.append((instance.id, port))
            return socket.create_connection(("127.0.0.1", served), timeout)

    bench.machine.provider = Dialling(bench.provider.context)
    wait_until_ready(Probe("http", {"port": 80, "path": "/up"}), bench.machine)
    assert asked == [(INSTANCE.id, 80)]
    told = details(bench, "http", {"port": 80, "path": "/no"})
    assert told == "the last answer to http://localhost:80/no, asked in the machine: status 404"
