"""The program that carries a connection through TLS, at moments that only a busy host brings about."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker_engines import PATIENCE, certificates

from envup_docker import transports
from envup_docker.endpoint import Endpoint

RECORD = 1 << 14


class Carried:
    """A connection through the program: `channel` is envup's end, `far` the engine's."""

    def __init__(self, directory: Path) -> None:
        context = certificates(directory)
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(PATIENCE)
            address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
            self.channel = transports.connect(Endpoint(address, tls=True, certificates=str(directory)))
            accepted, _ = server.accept()
        self.far = context.wrap_socket(accepted, server_side=True)
        for end in (self.channel.socket, self.far):
            end.settimeout(PATIENCE)

    @property
    def process(self) -> int:
        """The program between the ends."""
        running: Any = self.channel
        pid: int = running._process.pid
        return pid

    def received(self) -> bytes:
        """All that comes until the end."""
        return b"".join(iter(lambda: self.channel.socket.recv(RECORD), b""))


@pytest.fixture
def carried(tmp_path: Path) -> Iterator[Carried]:
    """A connection that has carried something both ways already."""
    made = Carried(tmp_path)
    made.channel.socket.sendall(b"question")
    assert made.far.recv(100) == b"question"
    made.far.sendall(b"answer")
    assert made.channel.socket.recv(100) == b"answer"
    yield made
    made.channel.close()
    made.far.close()


def test_what_comes_together_with_the_end_of_the_input_is_carried(carried: Carried) -> None:
    os.kill(carried.process, signal.SIGSTOP)
    os.waitid(os.P_PID, carried.process, os.WSTOPPED | os.WNOWAIT)
    carried.far.sendall(bytes(RECORD))
    carried.channel.socket.shutdown(socket.SHUT_WR)
    os.kill(carried.process, signal.SIGCONT)
    assert carried.far.recv(100) == b""
    carried.far.sendall(b"more")
    carried.far.shutdown(socket.SHUT_RDWR)
    assert carried.received() == bytes(RECORD) + b"more"
    assert carried.channel.broken() == ""


def test_an_engine_that_ends_with_input_left_has_ended_the_connection(carried: Carried) -> None:
    carried.far.sendall(b"last")
    carried.channel.socket.sendall(bytes(RECORD))
    select.select([carried.far], [], [])
    carried.far.close()
    assert carried.received() == b"last"
    assert carried.channel.broken() == ""


def test_a_connection_that_breaks_is_not_taken_for_one_that_ended(carried: Carried) -> None:
    with socket.socket(fileno=carried.far.detach()) as plain:
        plain.sendall(b"no TLS at all")
        assert carried.received() == b""
        assert "TLS failed" in carried.channel.broken()
