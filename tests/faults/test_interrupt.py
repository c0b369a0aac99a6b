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
from fault_help import EVERYWHERE, QUICK, check_that_up_recovers, settle, single_of
from real_machines import LIMIT, Project

pytestmark = [pytest.mark.root, pytest.mark.slow]

BLOCKING = """\
  - {name: first, shell: echo first >> /root/log}
  - name: second
    shell: |
      echo second >> /root/log
      echo waiting
      test -e /shared/go || sleep 4711
  - {name: third, shell: echo third >> /root/log}
"""
SIGNALS = [(name, number) for name in QUICK for number in (signal.SIGINT, signal.SIGTERM)]


@pytest.fixture
def blocking(make_project: Callable[..., Project], provider: str) -> Project:
    """A machine whose second step waits until there is a file `go` in the home."""
    project = make_project(single_of(provider) + BLOCKING)
    project.home.mkdir(mode=0o711, exist_ok=True)
    return project


def wait_for(stream: IO[str], kind: str, **fields: str) -> None:
    """Read NDJSON events until one of this kind has these texts in its fields."""
    end = time.monotonic() + LIMIT
    while select.select([stream], [], [], max(0, end - time.monotonic()))[0]:
        line = stream.readline()
        assert line, f"envup ended before {kind} {fields}"
        event = json.loads(line)
        if event["event"] == kind and all(text in event[field] for field, text in fields.items()):
            return
    pytest.fail(f"{kind} {fields} did not come within {LIMIT} s")


def start_and_wait(project: Project) -> subprocess.Popen[str]:
    """`env up` that has come to the step that waits, as the leader of a process group."""
    process = project.start("up", "--trust", "--json", start_new_session=True)
    assert process.stdout
    wait_for(process.stdout, "output", text="waiting")
    return process


@pytest.mark.parametrize(("provider", "number"), [*SIGNALS, ("chroot", signal.SIGHUP), ("kvm", signal.SIGINT)])
def test_an_interrupted_step_ends_with_its_children_and_is_resumed(blocking: Project, number: signal.Signals) -> None:
    process = start_and_wait(blocking)
    os.killpg(process.pid, number)
    output, errors = process.communicate(timeout=10)
    assert process.returncode == 130
    assert json.loads(output.splitlines()[-1])["interrupted"] is True
    assert "Traceback" not in errors
    assert "sleep 4711" not in blocking.must("exec", "--", "ps")
    (blocking.home / "go").touch()
    blocking.must("up")
    assert blocking.must("exec", "--", "cat", "/root/log").split() == ["first", "second", "second", "third"]
    settle(blocking)


MOMENTS = [
    ("one/image", signal.SIGTERM),
    ("one/create", signal.SIGINT),
    ("one/start", signal.SIGTERM),
    ("one/provision:2", signal.SIGINT),
]


@pytest.mark.parametrize(
    ("provider", "action", "number"),
    [*((name, *moment) for name in QUICK for moment in MOMENTS), ("kvm", "one/start", signal.SIGTERM)],
)
def test_an_interrupted_action_ends_cleanly_and_is_gone_on_with(
    pair: Project, action: str, number: signal.Signals
) -> None:
    process = pair.start("up", "--json", start_new_session=True)
    assert process.stdout
    wait_for(process.stdout, "started", action=action)
    os.killpg(process.pid, number)
    output, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 130, (output, errors)
    assert json.loads(output.splitlines()[-1])["interrupted"] is True
    assert "Traceback" not in errors
    check_that_up_recovers(pair)
    settle(pair)


def test_an_interrupt_of_envup_alone_ends_the_step_too(blocking: Project) -> None:
    process = start_and_wait(blocking)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130
    assert "sleep 4711" not in blocking.must("exec", "--", "ps")
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


@EVERYWHERE
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
