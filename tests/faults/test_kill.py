"""`env up` and `env destroy` killed with SIGKILL: the next command succeeds, and in the end nothing is left.

`ENVUP_KILLS` is the number of kills for each kind of moment (default 25).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fault_help import PAIR, settle
from real_machines import LIMIT, Project, remains

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(1800)]

KILLS = int(os.environ.get("ENVUP_KILLS", "25"))
SEED = int(os.environ.get("ENVUP_SEED", "0")) or random.randrange(1, 1 << 30)


def run_killed(project: Project, kind: str, number: int, *arguments: str) -> int:
    """Run a command that is killed at a point; its exit code, or with -1 the number of points."""
    file = project.directory / "points"
    command = [sys.executable, str(Path(__file__).with_name("killed.py")), kind, str(number), str(file), *arguments]
    done = subprocess.run(
        command,
        cwd=project.directory,
        env=project.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )
    if number >= 0:
        return done.returncode
    assert done.returncode == 0, done.stderr
    return int(file.read_text())


def check_that_up_recovers(project: Project) -> None:
    project.must("up", "--yes")
    assert {name: machine["state"] for name, machine in project.machines().items()} == {
        "one": "running",
        "two": "running",
    }
    assert all(machine["provisioned"] for machine in project.machines().values())
    assert project.must("exec", "one", "--", "cat", "/root/log").split()[-1] == "second"


def kill(project: Project, kind: str, number: int, *arguments: str) -> None:
    """Run a command that is killed. How often files are touched differs by a few from run to run, so a command may come
    to its end before the last of these points."""
    allowed = (-signal.SIGKILL,) if kind == "journal" else (-signal.SIGKILL, 0)
    assert run_killed(project, kind, number, *arguments) in allowed


def chosen(kind: str, points: int) -> list[int]:
    """All points of the journal; of the others `KILLS`, evenly spread."""
    if kind == "journal":
        return list(range(points))
    return sorted({round(index * (points - 1) / max(1, KILLS - 1)) for index in range(KILLS)})


def test_the_check_for_remains_sees_a_machine(pair: Project) -> None:
    pair.must("up")
    assert {"processes", "directories", "records", "control groups"} <= remains(pair).keys()
    settle(pair)


@pytest.mark.parametrize("kind", ["journal", "change"])
def test_up_killed_at_a_point_is_finished_by_the_next_up(make_project: Callable[..., Project], kind: str) -> None:
    counted = make_project(PAIR, "counted")
    points = run_killed(counted, kind, -1, "up")
    settle(counted)
    assert points > 20
    for number in chosen(kind, points):
        project = make_project(PAIR, f"{kind}-{number}")
        kill(project, kind, number, "up")
        check_that_up_recovers(project)
        settle(project)


@pytest.mark.parametrize("kind", ["journal", "change"])
def test_what_up_left_when_it_was_killed_is_removed_by_destroy(make_project: Callable[..., Project], kind: str) -> None:
    counted = make_project(PAIR, "counted")
    points = run_killed(counted, kind, -1, "up")
    settle(counted)
    for number in chosen(kind, points):
        project = make_project(PAIR, f"{kind}-{number}")
        kill(project, kind, number, "up")
        settle(project)


@pytest.mark.parametrize("kind", ["journal", "change"])
def test_destroy_killed_at_a_point_is_finished_by_the_next_command(
    make_project: Callable[..., Project], kind: str
) -> None:
    project = make_project(PAIR)
    project.must("up")
    points = run_killed(project, kind, -1, "destroy", "--yes")
    assert points >= 6
    for number in chosen(kind, points):
        project.must("up", "--yes")
        kill(project, kind, number, "destroy", "--yes")
        if number % 2:
            check_that_up_recovers(project)
        settle(project)


def test_cycles_killed_at_random_moments_always_go_on(make_project: Callable[..., Project]) -> None:
    print(f"ENVUP_SEED={SEED}")
    moments = random.Random(SEED)
    project = make_project(PAIR)
    begun = time.monotonic()
    project.must("up")
    longest = time.monotonic() - begun
    for _ in range(KILLS):
        verb = moments.choice(["up", "destroy"])
        with project.start(verb, "--yes", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                process.wait(moments.uniform(0, longest))
            except subprocess.TimeoutExpired:
                process.kill()
        if moments.random() < 0.5:
            check_that_up_recovers(project)
        else:
            settle(project)
    settle(project)


def test_a_killed_command_leaves_no_lock(pair: Project) -> None:
    kill(pair, "journal", 8, "up")
    pair.must("up", "--yes")
    settle(pair)


def test_a_machine_whose_first_process_was_killed_is_started_again(pair: Project) -> None:
    pair.must("up")
    before = pair.machines()["one"]["instance"]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            held = os.fsencode(pair.home) in (process / "environ").read_bytes()
        except OSError:
            continue
        if held and (process / "comm").read_text().strip() == "envup-machine":
            os.kill(int(process.name), signal.SIGKILL)
    assert pair.machines()["one"]["state"] == "stopped"
    pair.must("up")
    assert pair.machines()["one"]["state"] == "running"
    assert pair.machines()["one"]["instance"] == before
    assert pair.must("exec", "one", "--", "cat", "/root/log") == "first\nsecond\n"
    settle(pair)
