"""The keeper's forwarding of TCP and UDP, between sockets of this host."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from envup.errors import EnvupError
from envup.namespaces import listening
from envup.networks import datagrams, streams
from envup.networks.loop import Loop
from envup.provider import Port

LOCAL = "127.0.0.1"
MIB = 1 << 20
RESET = struct.pack("ii", 1, 0)


class Turning:
    """A loop that turns in a thread of its own, and does what it is given there."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.forwards: list[streams.Listener | datagrams.Listener] = []
        self._given: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._reader, self._writer = os.pipe()
        self._turns = True
        self.loop.add(self._reader, self._take)
        self._thread = threading.Thread(target=self._turn)
        self._thread.start()

    def _turn(self) -> None:
        while self._turns:
            self.loop.turn()

    def _take(self) -> None:
        os.read(self._reader, 1)
        self._given.get()()

    def do(self, work: Callable[[], object]) -> None:
        """Do it in the loop's thread; returns when it is done."""
        done = threading.Event()
        self._given.put(lambda: (work(), done.set()))
        os.write(self._writer, b"x")
        assert done.wait(10)

    def forward(
        self, machine_port: int, protocol: str = "tcp", address: str | None = LOCAL, *, most: int = 1000
    ) -> int:
        """Forward a chosen port of the host; its number."""
        kind = streams.Listener if protocol == "tcp" else datagrams.Listener
        with contextlib.ExitStack() as stack:
            settled, (bound,) = listening.listen(Port(machine_port, 0, address, protocol), stack)
            own = os.dup(bound.fileno())
        self.do(lambda: self.forwards.append(kind(self.loop, own, (LOCAL, machine_port), most)))
        return settled.host_port

    def close_forwards(self) -> None:
        """As when the machine has ended."""
        self.do(lambda: [forward.close() for forward in self.forwards])
        self.forwards.clear()

    def end(self) -> None:
        """Stop turning."""
        self.close_forwards()
        self.do(lambda: setattr(self, "_turns", False))
        self._thread.join()
        os.close(self._reader)
        os.close(self._writer)


@pytest.fixture
def turning() -> Iterator[Turning]:
    made = Turning()
    yield made
    made.end()


@pytest.fixture
def machine() -> Iterator[socket.socket]:
    """A listener that stands for the machine's program."""
    with socket.create_server((LOCAL, 0), backlog=1024) as listener:
        listener.settimeout(10)
        yield listener


def _connect(port: int, address: str = LOCAL) -> socket.socket:
    return socket.create_connection((address, port), timeout=10)


def _both(turning: Turning, machine: socket.socket) -> tuple[socket.socket, socket.socket]:
    client = _connect(turning.forward(machine.getsockname()[1]))
    accepted, _peer = machine.accept()
    accepted.settimeout(10)
    return client, accepted


def _all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(MIB), b""))


def test_bytes_go_both_ways(turning: Turning, machine: socket.socket) -> None:
    client, accepted = _both(turning, machine)
    with client, accepted:
        client.sendall(b"question")
        assert accepted.recv(100) == b"question"
        accepted.sendall(b"answer")
        assert client.recv(100) == b"answer"


def test_the_end_of_one_direction_leaves_the_other_open(turning: Turning, machine: socket.socket) -> None:
    client, accepted = _both(turning, machine)
    with client, accepted:
        client.sendall(b"all of it")
        client.shutdown(socket.SHUT_WR)
        assert _all(accepted) == b"all of it"
        accepted.sendall(b"an answer after the end")
        accepted.close()
        assert _all(client) == b"an answer after the end"


def test_a_reset_reaches_the_other_side_as_one(turning: Turning, machine: socket.socket) -> None:
    client, accepted = _both(turning, machine)
    with client:
        client.sendall(b"x")
        assert accepted.recv(1) == b"x"
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        accepted.close()
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_much_arrives_whole_while_nobody_reads_for_long(turning: Turning, machine: socket.socket) -> None:
    client, accepted = _both(turning, machine)
    sent = os.urandom(MIB) * 24
    sender = threading.Thread(target=lambda: (client.sendall(sent), client.shutdown(socket.SHUT_WR)))
    with client, accepted:
        sender.start()
        sender.join(0.2)
        assert sender.is_alive(), "what nobody reads was taken in without bound"
        assert _all(accepted) == sent
        sender.join()


def test_one_that_does_not_read_holds_up_no_other(turning: Turning, machine: socket.socket) -> None:
    port = turning.forward(machine.getsockname()[1])
    with _connect(port) as stuck, machine.accept()[0], _connect(port) as client:
        stuck.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                stuck.send(bytes(MIB))
        accepted, _peer = machine.accept()
        with accepted:
            client.sendall(b"quick")
            assert accepted.recv(100) == b"quick"


def test_refused_by_the_machine_the_client_is_reset_and_the_port_stays(turning: Turning) -> None:
    with socket.create_server((LOCAL, 0)) as unused:
        number = unused.getsockname()[1]
    port = turning.forward(number)
    with pytest.raises(ConnectionResetError), _connect(port) as client:
        client.recv(1)
    with socket.create_server((LOCAL, number)) as machine, _connect(port) as client, machine.accept()[0] as accepted:
        client.sendall(b"now")
        assert accepted.recv(3) == b"now"


def test_hundreds_of_connections_at_once(turning: Turning, machine: socket.socket) -> None:
    port = turning.forward(machine.getsockname()[1])
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(_connect(port)) for _number in range(200)]
        for number, client in enumerate(clients):
            client.sendall(number.to_bytes(2, "big"))
        accepted = [stack.enter_context(machine.accept()[0]) for _client in clients]
        for each in accepted:
            each.sendall(each.recv(2))
        assert [int.from_bytes(client.recv(2), "big") for client in clients] == list(range(200))


def test_connections_beyond_the_limit_wait_until_one_has_ended(turning: Turning, machine: socket.socket) -> None:
    port = turning.forward(machine.getsockname()[1], most=0)
    with _connect(port) as first, machine.accept()[0] as accepted, _connect(port) as second:
        machine.settimeout(0.1)
        with pytest.raises(TimeoutError):
            machine.accept()
        first.close()
        accepted.close()
        machine.settimeout(10)
        with machine.accept()[0] as next_accepted:
            second.sendall(b"x")
            assert next_accepted.recv(1) == b"x"


def test_the_end_of_the_machine_ends_its_connections_and_frees_the_port(
    turning: Turning, machine: socket.socket
) -> None:
    port = turning.forward(machine.getsockname()[1])
    with _connect(port) as client, machine.accept()[0]:
        turning.close_forwards()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        _connect(port)


def test_no_address_is_every_address_of_the_host(turning: Turning, machine: socket.socket) -> None:
    port = turning.forward(machine.getsockname()[1], address=None)
    for address in (LOCAL, "::1") if socket.has_ipv6 else (LOCAL,):
        with _connect(port, address) as client, machine.accept()[0] as accepted:
            client.sendall(b"x")
            assert accepted.recv(1) == b"x"


def test_an_address_of_ipv6_is_that_alone(turning: Turning, machine: socket.socket) -> None:
    port = turning.forward(machine.getsockname()[1], address="::1")
    with _connect(port, "::1"), machine.accept()[0], pytest.raises(ConnectionRefusedError):
        _connect(port)


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    """A socket that stands for the machine's program."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind((LOCAL, 0))
        bound.settimeout(10)
        yield bound


def _client(family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.settimeout(10)
    return made


def test_datagrams_are_answered_to_the_client_that_asked(turning: Turning, udp: socket.socket) -> None:
    port = turning.forward(udp.getsockname()[1], "udp")
    with _client() as one, _client() as other:
        for client, text in ((one, b"one"), (other, b"other")):
            client.sendto(text, (LOCAL, port))
        for _datagram in range(2):
            text, sender = udp.recvfrom(100)
            udp.sendto(b"to " + text, sender)
        assert (one.recv(100), other.recv(100)) == (b"to one", b"to other")


def test_a_client_keeps_its_flow(turning: Turning, udp: socket.socket) -> None:
    port = turning.forward(udp.getsockname()[1], "udp")
    with _client() as client:
        client.sendto(b"1", (LOCAL, port))
        client.sendto(b"2", (LOCAL, port))
        assert udp.recvfrom(1)[1] == udp.recvfrom(1)[1]


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.2"), (socket.AF_INET6, "::1")])
def test_the_answer_comes_from_the_address_that_was_asked(
    turning: Turning, udp: socket.socket, family: socket.AddressFamily, address: str
) -> None:
    port = turning.forward(udp.getsockname()[1], "udp", None)
    with _client(family) as client:
        client.sendto(b"x", (address, port))
        udp.sendto(b"y", udp.recvfrom(1)[1])
        assert client.recvfrom(1)[1][:2] == (address, port)


def test_a_datagram_that_the_machine_refuses_harms_nothing(turning: Turning) -> None:
    with _client() as unused:
        unused.bind((LOCAL, 0))
        number = unused.getsockname()[1]
    port = turning.forward(number, "udp")
    with _client() as client, _client() as udp:
        client.sendto(b"lost", (LOCAL, port))
        client.sendto(b"lost too", (LOCAL, port))
        for _turn in range(2):
            turning.do(lambda: None)
        udp.bind((LOCAL, number))
        client.sendto(b"found", (LOCAL, port))
        assert udp.recv(100) == b"found"


def test_an_idle_flow_ends_and_the_next_datagram_makes_another(
    turning: Turning, udp: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datagrams, "IDLE", 0.05)
    port = turning.forward(udp.getsockname()[1], "udp")
    (listener,) = turning.forwards
    ended = threading.Event()
    close = datagrams.Flow.close
    monkeypatch.setattr(datagrams.Flow, "close", lambda flow: (close(flow), ended.set()))
    with _client() as client:
        client.sendto(b"1", (LOCAL, port))
        udp.recv(1)
        assert ended.wait(10)
        assert isinstance(listener, datagrams.Listener)
        assert not listener._flows
        client.sendto(b"2", (LOCAL, port))
        udp.sendto(b"answer", udp.recvfrom(1)[1])
        assert client.recv(100) == b"answer"


def test_flows_have_a_bound_and_the_oldest_goes_first(
    turning: Turning, udp: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datagrams, "_MOST_FLOWS", 2)
    port = turning.forward(udp.getsockname()[1], "udp")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(_client()) for _number in range(3)]
        flows = []
        for client in clients:
            client.sendto(b"x", (LOCAL, port))
            flows.append(udp.recvfrom(1)[1])
        for flow in flows:
            udp.sendto(b"y", flow)
        assert [client.recv(1) for client in clients[1:]] == [b"y", b"y"]
        clients[0].settimeout(0.1)
        with pytest.raises(TimeoutError):
            clients[0].recv(1)


def test_a_taken_port_is_told_with_who_may_hold_it() -> None:
    with socket.create_server((LOCAL, 0)) as other, contextlib.ExitStack() as stack:
        number = other.getsockname()[1]
        with pytest.raises(EnvupError, match=f"{LOCAL} port {number}/tcp: it is taken") as raised:
            listening.listen(Port(80, number, LOCAL), stack)
        assert f"sport = :{number}" in raised.value.hint


def test_an_address_that_the_host_lacks_is_told() -> None:
    with contextlib.ExitStack() as stack, pytest.raises(EnvupError, match="the host has no such address"):
        listening.listen(Port(80, 0, "203.0.113.9"), stack)
