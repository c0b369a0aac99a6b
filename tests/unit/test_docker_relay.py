"""Carrying bytes to a program of a container that ends while there is input for it."""

from __future__ import annotations

import os
import signal
import socket
from collections import deque
from contextlib import closing
from typing import TYPE_CHECKING, cast

import pytest

from envup_docker.errands import Target
from envup_docker.execs import Exec
from envup_docker.relay import Relay, Signals
from envup_docker.streams import Whole

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Stream:
    """Takes half of the first input and all of the next, says two things, and ends."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._says = deque([b"do", b"ne\n", b""])
        self.taken: list[bytes] = []
        self._theirs.close()

    def close(self) -> None:
        self._ours.close()

    def fileno(self) -> int:
        return self._ours.fileno()

    def recv(self, _most: int) -> bytes:
        return self._says.popleft()

    def send(self, data: bytes) -> int:
        some = data if self.taken else data[: len(data) // 2]
        self.taken.append(some)
        return len(some)


class _Program:
    def __init__(self) -> None:
        self.stream = _Stream()


@pytest.fixture
def _input() -> Iterator[None]:
    """Standard input that always has something."""
    kept = os.dup(0)
    zero = os.open("/dev/zero", os.O_RDONLY)
    os.dup2(zero, 0)
    os.close(zero)
    yield
    os.dup2(kept, 0)
    os.close(kept)


@pytest.fixture
def signals() -> Iterator[Signals]:
    before = {number: signal.getsignal(number) for number in signal.Signals if signal.getsignal(number) is not None}
    made = Signals()
    yield made
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        if number not in {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, handler)


@pytest.mark.usefixtures("_input")
def test_input_that_is_there_when_the_program_ends_is_dropped(
    signals: Signals, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    program = _Program()
    with closing(program.stream):
        relay = Relay(cast("Exec", program), Whole(), cast("Target", None), signals, None, None)
        assert relay.run()
    assert capfdbinary.readouterr().out == b"done\n"
    assert len(program.stream.taken) == 2
