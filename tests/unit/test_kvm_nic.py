"""The keeper's side of a virtual machine's network card, between sockets that stand for QEMU and for the tap device."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from envup.networks.loop import Loop
from envup_kvm import nic

FRAMES = [bytes([number]) * (14 + number * 37) for number in range(40)]


def packed(frames: list[bytes]) -> bytes:
    return b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)


class Bench:
    """A card with both its ends. The tap is a socket of datagrams, which like it has a frame in each read and write."""

    def __init__(self, path: Path) -> None:
        self.loop, self.told = Loop(), list[str]()
        self.bridge, tap = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.bridge.setblocking(False)
        tap.setblocking(False)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(1)
        self.card = nic.Nic(self.loop, listener, tap.detach(), self._connect, self._end)
        self.qemu = socket.socket(socket.AF_UNIX)
        self.qemu.settimeout(10)
        self.qemu.connect(str(path))
        self.turn()

    def _connect(self) -> None:
        self.told.append("connected")

    def _end(self) -> None:
        self.told.append("ended")
        self.card.close()

    def turn(self) -> None:
        """Work on what is there."""
        self.loop.later(0, lambda: None)
        self.loop.turn()

    def frames(self) -> list[bytes]:
        """What has come to the bridge."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self.bridge.recv(1 << 17))
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "net")
    yield made
    if "ended" not in made.told:
        made.card.close()
    made.qemu.close()
    made.bridge.close()


def test_the_card_lives_from_the_connection_to_its_end(bench: Bench) -> None:
    assert bench.told == ["connected"]
    assert bench.card.is_connected
    bench.qemu.close()
    bench.turn()
    assert bench.told == ["connected", "ended"]


def test_frames_come_to_the_bridge_one_by_one_however_they_were_cut(bench: Bench) -> None:
    data, got = packed(FRAMES), []
    for at in range(0, len(data), 999):
        bench.qemu.sendall(data[at : at + 999])
        bench.turn()
        got += bench.frames()
    assert got == FRAMES


def test_frames_come_to_qemu_with_their_lengths_and_in_their_order(bench: Bench) -> None:
    for frame in FRAMES[:10]:
        bench.bridge.send(frame)
    wanted, got = packed(FRAMES[:10]), b""
    while len(got) < len(wanted):
        bench.turn()
        got += bench.qemu.recv(1 << 17)
    assert got == wanted


def test_who_does_not_read_holds_up_the_bridge_and_gets_all_that_was_taken(bench: Bench) -> None:
    """The machine's own frames go on meanwhile."""
    sent, frame = 0, os.urandom(30000)
    bench.qemu.setblocking(False)
    for _round in range(500):
        with contextlib.suppress(BlockingIOError):
            bench.bridge.send(sent.to_bytes(4, "big") + frame)
            sent += 1
        bench.turn()
    assert 0 < sent < 500, "what nobody reads was taken in without bound"
    bench.qemu.send(packed([b"x" * 20]))
    bench.turn()
    assert bench.frames() == [b"x" * 20]
    got, wanted = b"", packed([number.to_bytes(4, "big") + frame for number in range(sent)])
    for _round in range(10 * sent):
        with contextlib.suppress(BlockingIOError):
            got += bench.qemu.recv(1 << 17)
        bench.turn()
    assert got == wanted


def test_the_longest_frame_passes_and_what_is_no_frame_ends_the_card(bench: Bench) -> None:
    longest = os.urandom(nic.LONGEST)
    bench.bridge.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 19)
    data = packed([longest])
    for at in range(0, len(data), 1 << 14):
        bench.qemu.sendall(data[at : at + (1 << 14)])
        bench.turn()
    assert bench.frames() == [longest]
    bench.qemu.sendall((nic.LONGEST + 1).to_bytes(4, "big"))
    bench.turn()
    assert bench.told == ["connected", "ended"]


def test_a_frame_that_finds_no_room_is_dropped_and_nothing_else(bench: Bench) -> None:
    data = packed([b"y" * 100])
    for _frame in range(2000):
        bench.qemu.sendall(data)
        bench.turn()
    arrived = len(bench.frames())
    assert 0 < arrived < 2000
    bench.qemu.sendall(data)
    bench.turn()
    assert bench.frames() == [b"y" * 100]
