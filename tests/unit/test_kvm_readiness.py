"""What is seen on the console of a machine that boots."""

from __future__ import annotations

import os
import select
import socket
import threading
from pathlib import Path

import pytest

from envup_kvm import link, readiness, wire

PANIC = b"[    5.1] Kernel panic - not syncing: Attempted to kill init!\r\n"


def test_a_failure_is_seen_when_it_is_written_and_told_with_what_led_to_it(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_bytes(b"an earlier " + PANIC)
    console = readiness.Console(log, log.stat().st_size)
    with console.followed(), log.open("ab", buffering=0) as file:
        for text, seen in ((b"hello\r\nKernel pan", False), (b"ic - not syncing: x\r\n CPU: 0\r\n", True)):
            file.write(text)
            assert select.select([console], [], [], 20)[0]
            assert (console.failure() is not None) is seen
    assert console.last_lines(5) == ["hello", "Kernel panic - not syncing: x"]
    assert console.last_lines(1) == ["Kernel panic - not syncing: x"]


def test_a_kernel_hangs_that_has_not_come_to_its_first_program_in_time(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_bytes(b"envup: boot: begun\r\n")
    start = log.stat().st_size
    assert not readiness.Console(log, start, 60).is_hung()
    assert not readiness.Console(log, start).is_hung()
    console = readiness.Console(log, start, 0)
    with console.followed(), log.open("ab", buffering=0) as file:
        for text, hangs in ((b"a warning\r\n", True), (b"envup: boot: begun\r\n", False), (b"more\r\n", False)):
            file.write(text)
            assert select.select([console], [], [], 20)[0]
            assert console.failure() is None
            assert console.is_hung() is hangs


@pytest.mark.parametrize("seconds", [0.2, 60])
def test_waiting_ends_with_the_time_or_with_the_failure(tmp_path: Path, seconds: float) -> None:
    log = tmp_path / "console.log"
    log.touch()
    console = readiness.Console(log, 0)
    silent, _writer = os.pipe()
    with console.followed():
        if seconds < 1:
            with pytest.raises(TimeoutError):
                link.await_ready(silent, seconds, console)
        else:
            log.write_bytes(PANIC)
            with pytest.raises(link.NoWay) as caught:
                link.await_ready(silent, seconds, console)
            assert caught.value.stage == "boot"
    os.close(silent)
    os.close(_writer)


@pytest.fixture
def way(tmp_path: Path) -> socket.socket:
    """Where the agent of a machine would listen."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / link.WAY))
    listener.listen()
    return listener


def test_an_init_that_never_says_that_it_booted_is_a_stage_of_its_own(tmp_path: Path, way: socket.socket) -> None:
    with way, pytest.raises(link.NoWay) as caught:
        readiness.await_machine(tmp_path, 0.2, None)
    assert "init" in caught.value.stage


@pytest.mark.parametrize("answer", [wire.numbered(wire.ENDED, 0), b""])
def test_an_agent_that_answers_is_ready_and_one_that_is_lost_is_not(
    tmp_path: Path, way: socket.socket, answer: bytes
) -> None:
    def serve() -> None:
        connection, _address = way.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(answer)

    agent = threading.Thread(target=serve)
    agent.start()
    with way:
        if answer:
            readiness.await_machine(tmp_path, 20, None)
        else:
            with pytest.raises(link.NoWay, match="lost"):
                readiness.await_machine(tmp_path, 20, None)
        agent.join()
