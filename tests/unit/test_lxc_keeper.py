"""The parts of the LXC keeper: its loop, its messages, and the descriptors of what it starts."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from envup.networks import bridge, network, starting, wire
from envup.networks.loop import Loop
from envup_lxc import spawning


def _pair() -> tuple[Any, Any]:
    return socket.socketpair()


def _received(inbox: wire.Inbox, connection: Any) -> list[tuple[dict[str, Any], list[int]]]:
    assert inbox.receive(connection)
    return list(inbox.messages())


def test_a_message_arrives_with_its_descriptors() -> None:
    one, other = _pair()
    reader, writer = os.pipe()
    with one, other:
        wire.send(one, {"verb": "launch", "argv": ["a", "ü\udcff"]}, [writer])
        ((message, (descriptor,)),) = _received(wire.Inbox(), other)
    assert message == {"verb": "launch", "argv": ["a", "ü\udcff"]}
    assert not os.get_inheritable(descriptor)
    os.write(descriptor, b"x")
    assert os.read(reader, 1) == b"x"
    for each in (reader, writer, descriptor):
        os.close(each)


def test_a_message_in_pieces_is_one_when_it_is_whole() -> None:
    one, other = _pair()
    sent: Any = bytearray()

    class Recorder:
        def sendall(self, data: bytes) -> None:
            sent.extend(data)

    with one, other:
        wire.send(Recorder(), {"text": "x" * 1000})  # type: ignore[arg-type]
        inbox = wire.Inbox()
        for at in range(0, len(sent), 300):
            assert not list(inbox.messages())
            one.sendall(sent[at : at + 300])
            assert inbox.receive(other)
        assert [message for message, _none in inbox.messages()] == [{"text": "x" * 1000}]


def test_a_message_larger_than_any_buffer_arrives() -> None:
    one, other = _pair()
    text = "x" * (4 << 20)
    with one, other:
        sender = threading.Thread(target=wire.send, args=(one, {"text": text}))
        sender.start()
        inbox, got = wire.Inbox(), []
        while not got:
            assert inbox.receive(other)
            got = list(inbox.messages())
        sender.join()
    assert got[0][0] == {"text": text}


def test_descriptors_of_a_message_that_was_cut_short_are_closed() -> None:
    one, other = _pair()
    reader, writer = os.pipe()
    with one, other:
        socket.send_fds(one, [b"\xff\0\0\0"], [writer])
        os.close(writer)
        inbox = wire.Inbox()
        inbox.receive(other)
        inbox.close()
    assert os.read(reader, 1) == b"", "somebody still has the other end"
    os.close(reader)


def test_the_end_of_a_connection_is_told() -> None:
    one, other = _pair()
    with other:
        one.close()
        assert not wire.Inbox().receive(other)


def test_callbacks_come_when_something_is_ready_and_not_after_they_were_removed() -> None:
    loop, told = Loop(), []
    reader, writer = os.pipe()
    loop.add(reader, lambda: told.append(os.read(reader, 1)))
    os.write(writer, b"xy")
    loop.turn()
    loop.remove(reader)
    loop.remove(reader)
    loop.later(0, lambda: told.append(b"time"))
    loop.turn()
    assert told == [b"x", b"time"]
    os.close(reader)
    os.close(writer)


def test_what_is_to_come_soon_comes_once_and_can_be_taken_back() -> None:
    loop = Loop()
    told: list[str] = []

    def first() -> None:
        told.append("first")
        loop.forget(second)

    def second() -> None:
        told.append("second")

    for _time in range(2):
        loop.soon(first)
        loop.soon(second)
    loop.turn()
    loop.later(0, lambda: told.append("time"))
    loop.turn()
    assert told == ["first", "time"]


def test_times_come_in_their_order() -> None:
    loop = Loop()
    told: list[int] = []
    for number in (3, 1, 2):
        loop.later(number / 100, lambda number=number: told.append(number))  # type: ignore[misc]
    while len(told) < 3:
        loop.turn()
    assert told == [1, 2, 3]


@pytest.mark.parametrize("numbers", [[], [1], [0, 2], [2, 9, 3], [40]])
def test_descriptors_get_their_numbers_whatever_these_were(numbers: list[int], tmp_path: Path) -> None:
    """Seen by the forked child itself: every number has the file that it should have, and nothing else is open."""
    files = [os.open(tmp_path / str(number), os.O_RDWR | os.O_CREAT) for number in numbers]
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            spawning._take([*files, writer], [*numbers, 50])
            names = [each for each in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{each}")]
            os.write(50, "".join(f"{each} {os.readlink(f'/proc/self/fd/{each}')}\n" for each in names).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as said:
        shown = {int(number): path for number, path in (line.split() for line in said)}
    os.waitpid(child, 0)
    for each in files:
        os.close(each)
    wanted = {number: str(tmp_path / str(number)) for number in numbers}
    wanted |= {number: "/dev/null" for number in (0, 1, 2) if number not in numbers}
    del shown[50]
    assert shown == wanted


def test_a_path_too_long_for_a_socket_is_no_hindrance(tmp_path: Path) -> None:
    runtime = tmp_path / ("long" * 40)
    runtime.mkdir()
    place = starting.Place(runtime, "e" * 32, "private", "")
    assert len(place.socket) > 108
    assert starting.find(place) is None
    with place.locked() as path, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
    assert starting.find(place) is None, "its listener is gone"


def test_the_bridges_address_is_none_that_a_machine_can_have() -> None:
    own = network.IPv4Address(bridge.ADDRESS)
    assert own in network.PRIVATE
    assert not network.is_usable(own, network.Network())
    assert str(network.PRIVATE.netmask) == bridge.MASK
