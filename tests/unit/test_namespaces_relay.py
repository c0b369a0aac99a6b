"""Signals for a program in a machine, whenever they come."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator

import pytest

from envup.namespaces import relay


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process in the group of its parent, as every one is before it leads its own."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_before_the_program_leads_its_group_reaches_it(child: subprocess.Popen[bytes], number: int) -> None:
    relay._Program(child.pid, None).handle(number)
    assert child.wait(60) == -number


def test_a_number_that_may_be_another_process_by_now_is_sent_nothing(child: subprocess.Popen[bytes]) -> None:
    program = relay._Program(child.pid, None)
    program.status = 0
    program.handle(signal.SIGTERM)
    assert child.poll() is None
    child.kill()
    assert child.wait() == -signal.SIGKILL
