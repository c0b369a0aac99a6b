"""Ports of a machine are reached on the host, as declared, and told as they are; its services where they listen."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from envup.errors import EnvupError, TransportError
from envup.provider import Dial, Instance, Port
from envup.testing.subject import PATIENCE, Subject

pytestmark = pytest.mark.usefixtures("check_no_leak")

TCP = """
use IO::Socket::INET;
my $s = IO::Socket::INET->new(Listen => 9, LocalPort => 8095, ReuseAddr => 1) or die $@;
$| = 1; print "listening\\n";
while (my $c = $s->accept) { my $text; while (sysread $c, $text, 65536) { print $c uc $text; $c->flush } close $c }
"""
UDP = """
use IO::Socket::INET;
my $s = IO::Socket::INET->new(Proto => 'udp', LocalPort => 8096) or die $@;
$| = 1; print "listening\\n";
while (1) { $s->recv(my $text, 65536); $s->send(uc $text) }
"""


@contextmanager
def forwarded(subject: Subject, program: str, *ports: Port, name: str = "server") -> Iterator[Instance]:
    """A machine that serves; where the provider cannot forward, the case is left out."""
    spec = subject.spec(name, ports=ports)
    subject.accepts(spec, "ports")
    streams = {"stdout": subprocess.PIPE}
    with subject.running(spec) as instance, subject.popen(instance, "perl", "-e", program, streams=streams) as server:
        assert server.stdout.readline() == b"listening\n"
        yield instance
        server.terminate()


def asked(port: int, data: bytes, address: str = "127.0.0.1") -> bytes:
    """What the machine answers to `data`, read to the end."""
    with socket.create_connection((address, port), timeout=PATIENCE) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number: int = server.getsockname()[1]
        return number


def test_a_port_is_told_as_declared(subject: Subject) -> None:
    number = free()
    port = Port(number, number)
    spec = subject.spec("own", ports=(port,))
    subject.accepts(spec, "ports")
    with subject.running(spec) as instance:
        assert instance.ports == (port,)


def test_a_free_port_is_chosen_and_told(subject: Subject) -> None:
    with forwarded(subject, TCP, Port(8095, 0, "127.0.0.1")) as instance:
        (port,) = instance.ports
        assert (port.machine_port, port.address, port.protocol) == (8095, "127.0.0.1", "tcp")
        assert port.host_port > 0
        assert asked(port.host_port, b"hello") == b"HELLO"
        (seen,) = [one for one in subject.observed() if one.machine == "server"]
        assert seen.ports == instance.ports


def test_two_machines_serve_the_same_port(subject: Subject) -> None:
    port = Port(8095, 0, "127.0.0.1")
    with (
        forwarded(subject, TCP, port) as first,
        forwarded(subject, TCP.replace("uc", "lc"), port, name="two") as second,
    ):
        assert asked(first.ports[0].host_port, b"Both") == b"BOTH"
        assert asked(second.ports[0].host_port, b"Both") == b"both"


def test_a_large_transfer_arrives_whole(subject: Subject) -> None:
    with forwarded(subject, TCP, Port(8095, 0, "127.0.0.1")) as instance:
        data = bytes(range(97, 123)) * 1500
        assert asked(instance.ports[0].host_port, data) == data.upper()


def test_one_connection_after_the_other_is_served(subject: Subject) -> None:
    with forwarded(subject, TCP, Port(8095, 0, "127.0.0.1")) as instance:
        for number in range(30):
            assert asked(instance.ports[0].host_port, b"call %d" % number) == b"CALL %d" % number


def test_datagrams_are_forwarded_both_ways(subject: Subject) -> None:
    with (
        forwarded(subject, UDP, Port(8096, 0, "127.0.0.1", "udp")) as instance,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        client.settimeout(PATIENCE)
        for text in (b"one", b"two"):
            client.sendto(text, ("127.0.0.1", instance.ports[0].host_port))
            assert client.recv(100) == text.upper()


def test_a_port_is_bound_to_the_address_that_was_asked_for(subject: Subject) -> None:
    with forwarded(subject, TCP, Port(8095, 0, "127.0.0.2")) as instance:
        number = instance.ports[0].host_port
        assert asked(number, b"x", "127.0.0.2") == b"X"
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", number), timeout=2)


def test_a_taken_port_is_an_error_that_names_it(subject: Subject) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        spec = subject.spec("late", ports=(Port(80, number, "127.0.0.1"),))
        subject.accepts(spec, "ports")
        instance = subject.create(spec)
        try:
            with pytest.raises(EnvupError) as caught:
                subject.provider.start(instance, spec)
            assert str(number) in f"{caught.value.brief} {caught.value.details}"
            assert subject.state("late") in ("created", "stopped")
            taken.close()
            assert subject.provider.start(instance, spec).state == "running"
        finally:
            subject.provider.destroy(instance)


def test_a_port_is_free_after_a_stop_and_forwarded_again_after_a_start(subject: Subject) -> None:
    number = free()
    spec = subject.spec("server", ports=(Port(8095, number, "127.0.0.1"),))
    subject.accepts(spec, "ports")
    with subject.running(spec) as instance:
        subject.provider.stop(instance, grace=1)
        socket.create_server(("127.0.0.1", number)).close()
        assert subject.provider.start(instance, spec).ports == spec.ports


@contextmanager
def serving(subject: Subject, instance: Instance, number: int) -> Iterator[None]:
    """A server on a port of the machine, which is not forwarded."""
    program = TCP.replace("8095", str(number))
    with subject.popen(instance, "perl", "-e", program, streams={"stdout": subprocess.PIPE}) as server:
        try:
            assert server.stdout.readline() == b"listening\n"
            yield
        finally:
            server.terminate()


def test_addresses_that_are_told_are_reached_from_the_host(subject: Subject) -> None:
    number = free()
    with subject.running(subject.spec("server")) as instance, serving(subject, instance, number):
        for address in instance.addresses:
            assert asked(number, b"hello", address) == b"HELLO"


def needs_dial(subject: Subject, instance: Instance) -> None:
    """Leave the case out where this account cannot do so."""
    if not subject.provider.can_dial(instance):
        subject.leave_out("the ability Dial, with this account")


def test_a_port_that_listens_in_the_machine_is_dialled_and_no_other(subject: Subject) -> None:
    subject.needs(Dial)
    number, other = free(), free()
    with subject.running(subject.spec("server")) as instance:
        needs_dial(subject, instance)
        with pytest.raises(ConnectionRefusedError):
            subject.provider.dial(instance, number, timeout=PATIENCE)
        with serving(subject, instance, number):
            for _ in range(2):
                with subject.provider.dial(instance, number, timeout=PATIENCE) as connection:
                    assert connection.gettimeout() == PATIENCE
                    connection.sendall(b"hello")
                    assert connection.recv(100) == b"HELLO"
            with pytest.raises(ConnectionRefusedError):
                subject.provider.dial(instance, other, timeout=PATIENCE)


def test_a_machine_that_does_not_run_cannot_be_dialled(subject: Subject) -> None:
    subject.needs(Dial)
    with subject.running(subject.spec("server")) as instance:
        needs_dial(subject, instance)
        subject.provider.stop(instance, grace=1)
        with pytest.raises(TransportError):
            subject.provider.dial(instance, 8095, timeout=PATIENCE)
