"""Ctrl-C, other signals, and two commands at once."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable
from typing import IO

import pytest
from fault_help import SINGLE, settle
from real_machines import LIMIT, Project

pytestmark = [pytest.mark.root, pytest.mark.slow]

BLOCKING = (
    SINGLE
    + """\
  - {name: first, shell: echo first >> /root/log}
  - name: second
    shell: |
      echo second >> /root/log
      echo waiting
      test -e /shared/go || sleep 1000
  - {name: third, shell: echo third >> /root/log}
"""
)


@pytest.fixture
def blocking(make_project: Callable[..., Project]) -> Project:
    """A machine whose second step waits until there is a file `go` in the home."""
    project = make_project(BLOCKING)
    project.home.mkdir(mode=0o711)
    return project


def wait_for_output(stream: IO[str], text: str) -> None:
    """Read NDJSON events until a program of the machine has said `text`."""
    end = time.monotonic() + LIMIT
    while select.select([stream], [], [], max(0, end - time.monotonic()))[0]:
        line = stream.readline()
        assert line, f"envup ended before {text!r} was said"
        event = json.loads(line)
        if event["event"] == "output" and text in event["text"]:
            return
    pytest.fail(f"{text!r} was not said within {LIMIT} s")


def start_and_wait(project: Project) -> subprocess.Popen[str]:
    """`env up` that has come to the step that waits, as the leader of a process group."""
    process = project.start("up", "--json", start_new_session=True)
    assert process.stdout
    wait_for_output(process.stdout, "waiting")
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_step_ends_with_its_children_and_is_resumed(blocking: Project, number: signal.Signals) -> None:
    process = start_and_wait(blocking)
    os.killpg(process.pid, number)
    output, errors = process.communicate(timeout=10)
    assert process.returncode == 130
    assert json.loads(output.splitlines()[-1])["interrupted"] is True
    assert "Traceback" not in errors
    assert "sleep" not in blocking.must("exec", "--", "ps")
    (blocking.home / "go").touch()
    blocking.must("up")
    assert blocking.must("exec", "--", "cat", "/root/log").split() == ["first", "second", "second", "third"]
    settle(blocking)


def test_an_interrupt_of_envup_alone_ends_the_step_too(blocking: Project) -> None:
    process = start_and_wait(blocking)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130
    assert "sleep" not in blocking.must("exec", "--", "ps")
    settle(blocking)


def test_destroy_goes_on_after_an_interrupted_up(blocking: Project) -> None:
    process = start_and_wait(blocking)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=10)
    settle(blocking)


def test_a_second_up_names_the_first_and_changes_nothing(blocking: Project) -> None:
    process = start_and_wait(blocking)
    second = blocking.run("up")
    assert second.returncode == 4
    assert f"pid {process.pid}" in second.stderr
    assert "env up" in second.stderr
    (blocking.home / "go").touch()
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=10)
    settle(blocking)


def test_a_second_up_waits_as_long_as_it_is_told(blocking: Project) -> None:
    process = start_and_wait(blocking)
    begun = time.monotonic()
    assert blocking.run("up", "--wait", "0.5").returncode == 4
    assert time.monotonic() - begun < 5
    with blocking.start("up", "--wait", "60") as second:
        (blocking.home / "go").touch()
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=10)
        _, errors = second.communicate(timeout=LIMIT)
    assert second.returncode == 0, errors
    assert blocking.must("exec", "--", "cat", "/root/log").split() == ["first", "second", "second", "third"]
    settle(blocking)


def test_two_ups_started_at_once_do_not_disturb_each_other(pair: Project) -> None:
    processes = [pair.start("up", "--wait", "60") for _ in range(6)]
    results = [(*process.communicate(timeout=LIMIT), process.returncode) for process in processes]
    assert [code for *_, code in results] == [0] * 6, results
    assert pair.must("exec", "one", "--", "cat", "/root/log") == "first\nsecond\n"
    settle(pair)


def test_reading_verbs_answer_while_another_command_holds_the_lock(blocking: Project) -> None:
    process = start_and_wait(blocking)
    assert blocking.machines()["default"]["state"] == "running"
    assert blocking.must("exec", "--", "cat", "/root/log") == "first\nsecond\n"
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=10)
    settle(blocking)
