"""Services of LXC machines are asked whether they are ready in the machine's own network."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from envup.errors import EnvupError
from envup.events import silent
from envup.machine import Machine
from envup.model import Probe
from envup.probe import wait_until_ready
from envup.testing.subject import Subject

PROVIDER = "lxc"

pytestmark = pytest.mark.usefixtures("check_no_leak")

SERVE = """
use IO::Socket::INET;
<STDIN>;
my $s = IO::Socket::INET->new(Listen => 9, LocalAddr => "%s", LocalPort => 8098, ReuseAddr => 1) or die $@;
$| = 1; print "listening\\n";
while (my $c = $s->accept) { my $line = <$c>; print $c "HTTP/1.0 %s\\r\\n\\r\\n"; close $c }
"""


@contextmanager
def _machine(subject: Subject, **options: Any) -> Iterator[Machine]:
    spec = subject.spec("service", options=options)
    with subject.running(spec) as instance:
        yield Machine(subject.provider, instance, spec, emit=silent)


@contextmanager
def _server(subject: Subject, machine: Machine, address: str, status: str) -> Iterator[Any]:
    """A server that begins to listen when it is given a line."""
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subject.popen(machine.instance, "perl", "-e", SERVE % (address, status), streams=streams) as server:
        try:
            yield server
        finally:
            server.terminate()


def _listen(server: Any) -> None:
    server.stdin.write(b"now\n")
    server.stdin.flush()
    assert server.stdout.readline() == b"listening\n"


@pytest.mark.parametrize("network", ["private", "none", "host"])
@pytest.mark.parametrize("probe", [Probe("tcp", 8098), Probe("http", {"port": 8098})], ids=["tcp", "http"])
def test_a_service_that_listens_late_is_waited_for(
    subject: Subject, probe: Probe, network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dial, refused = subject.provider.dial, []
    with _machine(subject, network=network) as machine, _server(subject, machine, "127.0.0.1", "200 OK") as server:

        def first_refused(*arguments: Any, **named: Any) -> socket.socket:
            try:
                connection: socket.socket = dial(*arguments, **named)
            except ConnectionRefusedError as error:
                refused.append(error)
                _listen(server)
                raise
            return connection

        monkeypatch.setattr(subject.provider, "dial", first_refused)
        wait_until_ready(probe, machine)
    assert len(refused) == 1


def test_a_service_that_listens_on_the_machines_address_alone_is_found(subject: Subject) -> None:
    with _machine(subject, address="10.0.2.88") as machine, _server(subject, machine, "10.0.2.88", "200 OK") as server:
        _listen(server)
        wait_until_ready(Probe("tcp", 8098), machine)


def test_what_listens_on_the_host_is_not_taken_for_the_machines(subject: Subject) -> None:
    with socket.create_server(("", 0)) as other, _machine(subject) as machine:
        number = other.getsockname()[1]
        with pytest.raises(EnvupError, match=r"machine 'service' was not ready within 0\.5 s") as caught:
            wait_until_ready(Probe("tcp", number, timeout=0.5), machine)
    expected = f"the last answer to tcp port {number} of localhost, asked in the machine: Connection refused"
    assert caught.value.details == expected


def test_a_service_that_answers_otherwise_is_told_with_its_address(subject: Subject) -> None:
    with _machine(subject) as machine, _server(subject, machine, "127.0.0.1", "404 Not Found") as server:
        _listen(server)
        with pytest.raises(EnvupError) as caught:
            wait_until_ready(Probe("http", {"port": 8098, "path": "/up"}, timeout=0.5), machine)
    expected = "the last answer to http://localhost:8098/up, asked in the machine: status 404"
    assert caught.value.details == expected
