"""The network of virtual machines: the environment's own, its end and return, and the others that can be chosen."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from envup.errors import EnvupError
from envup.events import silent
from envup.machine import Machine
from envup.model import Probe
from envup.probe import wait_until_ready
from envup.provider import Instance, MachineSpec, Port
from envup.testing.subject import ENVIRONMENT, PATIENCE, Subject

PROVIDER = "kvm"
BRIDGE = "envuptest0"
pytestmark = [pytest.mark.root, pytest.mark.slow]

ECHO = """
use IO::Socket::INET;
my $s = IO::Socket::INET->new(Listen => 9, LocalAddr => "%s", LocalPort => 8097, ReuseAddr => 1) or die $@;
$| = 1; print "listening\\n";
while (my $c = $s->accept) {
    next if fork;
    print $c $c->peerhost, "\\n"; $c->flush;
    while (sysread $c, $text, 1 << 16) { print $c $text; $c->flush }
    exit;
}
"""
CALL = 'use IO::Socket::INET; my $s = IO::Socket::INET->new(PeerAddr => "%s", Timeout => 5) or die $@; print <$s>'
HEAR = f"{CALL.replace('print <$s>', 'print scalar <$s>')}"


def _spec(subject: Subject, name: str, *ports: Port, peers: tuple[str, ...] = (), **options: Any) -> MachineSpec:
    spec = subject.spec(name, ports=ports, peers=peers, options=options)
    assert not subject.provider.check(spec)
    return spec


def _hear(subject: Subject, instance: Instance, where: str) -> str:
    return subject.shell(instance, f"perl -e '{HEAR % where}'")


@contextmanager
def _serving(subject: Subject, instance: Instance, address: str = "0.0.0.0") -> Iterator[None]:
    with subject.popen(instance, "perl", "-e", ECHO % address, streams={"stdout": subprocess.PIPE}) as server:
        try:
            assert server.stdout.readline() == b"listening\n"
            yield
        finally:
            server.terminate()


def _record(subject: Subject, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (subject.base / f"data/machines/{ENVIRONMENT}.{name}/run.json").read_text(encoding="utf-8")
    )
    return found


def _kill(process: int) -> None:
    ended = os.pidfd_open(process)
    os.kill(process, signal.SIGKILL)
    assert select.select([ended], [], [], PATIENCE)[0]
    os.close(ended)


ONE = Port(8097, 0, "127.0.0.1")


@pytest.fixture(scope="module")
def one(subject: Subject) -> Iterator[Instance]:
    with subject.running(_one(subject)) as instance:
        yield instance


def _one(subject: Subject) -> MachineSpec:
    return _spec(subject, "one", ONE, peers=("two",), address="10.0.2.77")


@pytest.fixture(scope="module")
def two(subject: Subject, one: Instance) -> Iterator[Instance]:
    with subject.running(_spec(subject, "two", peers=("one",))) as instance:
        yield instance


def test_the_private_network_is_as_it_is_told(subject: Subject, one: Instance) -> None:
    assert one.addresses == (), "the host is not in this network"
    shown = subject.shell(one, "cat /proc/net/fib_trie /proc/net/route /etc/hosts /etc/resolv.conf")
    assert "10.0.2.77" in shown
    assert "0202000A" in shown, "the gateway is 10.0.2.2"
    assert "nameserver 10.0.2.3" in shown
    assert "10.0.2.77\tone" in shown
    assert subject.shell(one, "cat /sys/class/net/eth0/mtu") == "65520"


def test_qemus_way_to_the_network_is_nobody_elses(subject: Subject, one: Instance) -> None:
    """It is gone when the machine is up; who is connected is."""
    assert not list((subject.base / "runtime").glob("*/net"))
    assert len(list((subject.base / "runtime").glob("keeper-*-private"))) == 1


def test_much_goes_through_a_port_both_ways_and_arrives_whole(subject: Subject, one: Instance) -> None:
    sent = os.urandom(1 << 20) * 8
    with (
        _serving(subject, one),
        socket.create_connection(("127.0.0.1", one.ports[0].host_port), timeout=PATIENCE) as connection,
    ):

        def send() -> None:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        got = b"".join(iter(lambda: connection.recv(1 << 17), b""))
        sender.join()
    assert got == b"10.0.2.1\n" + sent


def test_machines_reach_each_other_by_name(subject: Subject, one: Instance, two: Instance) -> None:
    with _serving(subject, one):
        assert _hear(subject, two, "one:8097") == subject.shell(two, "getent ahostsv4 two").split()[0]


def test_the_host_is_reached_by_its_own_address_and_not_by_its_loopback(subject: Subject, one: Instance) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.254", 9))  # sends nothing; tells the address of the way out
        own = probe.getsockname()[0]
    with socket.create_server(("", 0)) as service:
        number = service.getsockname()[1]
        streams = {"stdout": subprocess.PIPE}
        with subject.popen(one, "perl", "-e", CALL % f"{own}:{number}", streams=streams) as call:
            with service.accept()[0] as accepted:
                accepted.sendall(b"hello")
            assert call.stdout.read() == b"hello"
        assert subject.run(one, "perl", "-e", CALL % f"10.0.2.2:{number}").returncode != 0


def test_a_service_is_asked_in_the_machine_whatever_address_it_has(subject: Subject, one: Instance) -> None:
    machine = Machine(subject.provider, one, _one(subject), emit=silent)
    for address in ("127.0.0.1", "10.0.2.77"):
        with pytest.raises(EnvupError, match="was not ready"):
            wait_until_ready(Probe("tcp", 8097, timeout=0.5), machine)
        with _serving(subject, one, address):
            wait_until_ready(Probe("tcp", 8097), machine)


def test_one_that_restarts_itself_keeps_its_place_in_the_network(
    subject: Subject, one: Instance, two: Instance
) -> None:
    subject.run(two, "sh", "-c", "sync; echo b > /proc/sysrq-trigger")
    with _serving(subject, one):
        assert _hear(subject, two, "one:8097") == subject.shell(two, "getent ahostsv4 two").split()[0]
    assert subject.shell(two, "cut -d. -f1 /proc/uptime")


def test_machines_that_lost_their_network_are_started_anew(subject: Subject, one: Instance, two: Instance) -> None:
    keeper = _record(subject, "one")["keeper"]
    assert keeper == _record(subject, "two")["keeper"]
    _kill(keeper)
    assert {seen.machine: (seen.state, seen.ports) for seen in subject.observed()} == {
        "one": ("stopped", ()),
        "two": ("stopped", ()),
    }
    again = subject.provider.start(one, _one(subject))
    (port,) = again.ports
    with _serving(subject, again), socket.create_connection(("127.0.0.1", port.host_port), PATIENCE) as connection:
        assert connection.recv(100) == b"10.0.2.1\n"


def test_without_a_network_there_is_a_loopback_where_services_are_asked(subject: Subject) -> None:
    spec = _spec(subject, "alone", network="none")
    with subject.running(spec) as instance, _serving(subject, instance):
        assert subject.shell(instance, "tail -n +3 /proc/net/dev | cut -d: -f1").split() == ["lo"]
        assert subject.shell(instance, "getent hosts alone")
        assert instance.addresses == ()
        with subject.provider.dial(instance, 8097, timeout=PATIENCE) as connection:
            assert connection.recv(100) == b"127.0.0.1\n"


@pytest.fixture
def bridge() -> Iterator[Path]:
    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True)

    ip("link", "add", BRIDGE, "type", "bridge")
    try:
        ip("address", "add", "10.0.77.1/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        yield Path(f"/sys/class/net/{BRIDGE}")
    finally:
        ip("link", "delete", BRIDGE)


def test_on_a_bridge_of_the_host_a_machine_is_reached_by_its_address_and_its_ports(
    subject: Subject, bridge: Path
) -> None:
    spec = _spec(subject, "bridged", Port(8097, 0, "127.0.0.1"), network=BRIDGE)
    with subject.running(spec) as instance, _serving(subject, instance):
        (address,) = instance.addresses
        assert address.startswith("10.0.77.")
        for where in ((address, 8097), ("127.0.0.1", instance.ports[0].host_port)):
            with socket.create_connection(where, timeout=PATIENCE) as connection:
                assert connection.recv(100) == b"10.0.77.1\n"
        assert len(list((bridge / "brif").iterdir())) == 1
    assert not list((bridge / "brif").iterdir())
