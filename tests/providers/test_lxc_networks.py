"""What only LXC machines have: the choice of a network."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from envup.errors import EnvupError
from envup.provider import Instance, MachineSpec, Port
from envup.testing.subject import PATIENCE, Subject

PROVIDER = "lxc"
BRIDGE = "lxcbr0"

pytestmark = pytest.mark.usefixtures("check_no_leak")

SERVE = """
use IO::Socket::INET;
my $s = IO::Socket::INET->new(Listen => 9, LocalPort => 8097, ReuseAddr => 1) or die $@;
$| = 1; print "listening\\n";
while (my $c = $s->accept) { print $c $c->peerhost; close $c }
"""
CALL = 'use IO::Socket::INET; my $s = IO::Socket::INET->new(PeerAddr => "%s", Timeout => 5) or die $@; print <$s>'


def _spec(subject: Subject, name: str, *ports: Port, peers: tuple[str, ...] = (), **options: Any) -> MachineSpec:
    spec = subject.spec(name, ports=ports, peers=peers, options=options)
    assert not subject.provider.check(spec)
    return spec


def _call(subject: Subject, instance: Instance, where: str) -> str:
    return subject.shell(instance, f"perl -e '{CALL % where}'")


@contextmanager
def _serving(subject: Subject, instance: Instance) -> Iterator[None]:
    streams = {"stdout": subprocess.PIPE}
    with subject.popen(instance, "perl", "-e", SERVE, streams=streams) as server:
        try:
            assert server.stdout.readline() == b"listening\n"
            yield
        finally:
            server.terminate()


def _asked(port: Port) -> str:
    with socket.create_connection((port.address or "127.0.0.1", port.host_port), timeout=PATIENCE) as connection:
        return connection.recv(100).decode()


def test_the_private_network_is_as_it_is_told(subject: Subject) -> None:
    with subject.running(_spec(subject, "own", address="10.0.2.77")) as instance:
        assert instance.addresses == (), "the host is not in this network"
        shown = subject.shell(instance, "cat /proc/net/fib_trie /proc/net/route /etc/hosts /etc/resolv.conf")
        assert "10.0.2.77" in shown
        assert "0202000A" in shown, "the gateway is 10.0.2.2"
        assert "nameserver 10.0.2.3" in shown
        assert "10.0.2.77\town" in shown


def test_peers_have_addresses_that_stay(subject: Subject) -> None:
    one, two = _spec(subject, "one", peers=("two",)), _spec(subject, "two", peers=("one",))
    with subject.running(one) as first, subject.running(two) as second, _serving(subject, second):
        own = subject.shell(first, "getent ahostsv4 one | head -n1 | cut -d' ' -f1")
        assert own.startswith("10.0.2.")
        assert _call(subject, first, "two:8097") == own
        subject.provider.stop(first, grace=1)
        again = subject.provider.start(first, one)
        assert _call(subject, again, "two:8097") == own


def test_the_host_is_reached_by_its_own_address_and_not_by_its_loopback(subject: Subject) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.254", 9))  # sends nothing; tells the address of the way out
        own = probe.getsockname()[0]
    with socket.create_server(("", 0)) as service, subject.running(_spec(subject, "caller")) as instance:
        number = service.getsockname()[1]
        with subject.popen(
            instance, "perl", "-e", CALL % f"{own}:{number}", streams={"stdout": subprocess.PIPE}
        ) as call:
            with service.accept()[0] as accepted:
                accepted.sendall(b"hello")
            assert call.stdout.read() == b"hello"
        refused = subject.run(instance, "perl", "-e", CALL % f"10.0.2.2:{number}")
        assert refused.returncode != 0


def test_a_machine_without_a_network_has_a_loopback_alone(subject: Subject) -> None:
    with subject.running(_spec(subject, "alone", network="none")) as instance:
        assert subject.shell(instance, "cat /proc/net/dev | tail -n +3 | cut -d: -f1").split() == ["lo"]
        assert subject.shell(instance, "cat /proc/net/route | tail -n +2") == ""
        assert subject.shell(instance, "getent hosts alone")
        assert instance.addresses == ()


def test_a_machine_on_the_hosts_network_is_on_it(subject: Subject) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = free.getsockname()[1]
    spec = _spec(subject, "shared", Port(number, number), network="host")
    with subject.running(spec) as instance:
        assert instance.ports == (Port(number, number),)
        assert instance.addresses == ("127.0.0.1",)
        devices = subject.shell(instance, "tail -n +3 /proc/net/dev | cut -d: -f1").split()
        assert set(devices) == set(os.listdir("/sys/class/net")) - {"bonding_masters"}
        socket.create_server(("", number)).close()


@pytest.mark.root
def test_a_machine_on_a_bridge_of_the_host_is_reached_by_its_address_and_its_ports(subject: Subject) -> None:
    port = Port(8097, 0, "127.0.0.1")
    one = _spec(subject, "one", port, peers=("two",), network=BRIDGE)
    two = _spec(subject, "two", peers=("one",), network=BRIDGE)
    attached = Path(f"/sys/class/net/{BRIDGE}/brif")
    before = set(attached.iterdir())
    with subject.running(one) as first, subject.running(two) as second, _serving(subject, first):
        (address,) = first.addresses
        assert address.startswith("10.0.3.")
        with socket.create_connection((address, 8097), timeout=PATIENCE) as connection:
            assert connection.recv(100) == b"10.0.3.1"
        assert _asked(first.ports[0]) == "10.0.3.1"
        assert _call(subject, second, "one:8097") == second.addresses[0]
        assert "nameserver" in subject.shell(second, "cat /etc/resolv.conf")
    assert set(attached.iterdir()) <= before


@pytest.mark.root
def test_machines_of_one_environment_on_two_networks(subject: Subject) -> None:
    """Each has a keeper of its own; that of the private network reaches the bridge through the host."""
    with (
        subject.running(_spec(subject, "bridged", network=BRIDGE)) as bridged,
        subject.running(_spec(subject, "private", peers=("bridged",))) as private,
        _serving(subject, bridged),
    ):
        assert _call(subject, private, "bridged:8097") == "10.0.3.1"


def test_a_second_machine_with_another_reach_is_refused_while_the_first_runs(subject: Subject) -> None:
    with subject.running(_spec(subject, "one", host_loopback=True)):
        spec = _spec(subject, "two")
        instance = subject.create(spec)
        try:
            with pytest.raises(EnvupError, match="host_loopback true, and this one asks for false"):
                subject.provider.start(instance, spec)
            assert subject.state("two") in ("created", "stopped")
        finally:
            subject.provider.destroy(instance)
