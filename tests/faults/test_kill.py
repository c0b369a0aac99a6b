"""`env up` and `env destroy` killed with SIGKILL at exact points: the next command succeeds, and in the end nothing is
left.

`ENVUP_KILLS` is the number of kills of a test (default 2), `ENVUP_SEED` makes the points those of an earlier run.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_help import EVERYWHERE, KILLS, QUICK, check_that_up_recovers, forget_image, pair_of, settle, told_choice
from real_machines import LIMIT, Project, remains

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(3600)]

KINDS = ("journal", "change", "message")
QUICK_POINTS = [(name, kind) for name in QUICK for kind in KINDS if (name, kind) != ("chroot", "message")]
POINTS = pytest.mark.parametrize(("provider", "kind"), [*QUICK_POINTS, ("kvm", "change")])
SEEN = {
    "chroot": {"processes", "directories", "records", "control groups"},
    "docker": {"processes", "records", "containers", "networks", "interfaces", "rules", "namespaces"},
    "lxc": {"processes", "directories", "records", "control groups", "addresses", "sockets"},
    "lxc-bridge": {"processes", "directories", "records", "control groups", "addresses", "sockets", "interfaces"},
    "kvm": {"processes", "directories", "records", "addresses", "sockets", "domains", "libvirt's files"},
}
"""What a pair of living machines is seen by."""

_COUNTED: dict[tuple[str, str], int] = {}
"""How many points there are in `up`."""


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


def kill(project: Project, kind: str, number: int, *arguments: str) -> None:
    """Run a command that is killed. How often files are touched and messages sent differs by a few from run to run, so
    a command may come to its end before the last of these points."""
    allowed = (-signal.SIGKILL,) if kind == "journal" else (-signal.SIGKILL, 0)
    assert run_killed(project, kind, number, *arguments) in allowed


def chosen(points: int) -> list[int]:
    """`KILLS` of so many points, or all."""
    with told_choice() as choice:
        return sorted(choice.sample(range(points), min(KILLS, points)))


@pytest.mark.parametrize("way", SEEN)
def test_the_check_for_remains_sees_machines(
    make_project: Callable[..., Project], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("real_machines.OTHERS", 0)
    project = make_project(pair_of(way))
    project.must("up")
    assert SEEN[way] <= remains(project).keys()
    monkeypatch.undo()
    settle(project)


@pytest.mark.parametrize(("provider", "kind"), QUICK_POINTS)
def test_up_killed_at_a_point_is_finished_by_the_next_up(
    make_project: Callable[..., Project], provider: str, kind: str
) -> None:
    for project in killed_in_up(make_project, provider, kind):
        check_that_up_recovers(project)
        settle(project)


@POINTS
def test_what_up_left_when_it_was_killed_is_removed_by_destroy(
    make_project: Callable[..., Project], provider: str, kind: str
) -> None:
    for project in killed_in_up(make_project, provider, kind):
        settle(project)


def killed_in_up(make_project: Callable[..., Project], provider: str, kind: str) -> Iterator[Project]:
    """Projects, each with an `up` that was killed at another point, and with an image that is not there yet."""
    if (provider, kind) not in _COUNTED:
        counted = make_project(pair_of(provider), "counted")
        _COUNTED[provider, kind] = run_killed(counted, kind, -1, "up")
        settle(counted)
    assert _COUNTED[provider, kind] > 20
    for number in chosen(_COUNTED[provider, kind]):
        project = make_project(pair_of(provider), f"{kind}-{number}")
        kill(project, kind, number, "up")
        yield project
        forget_image(project)


@POINTS
def test_destroy_killed_at_a_point_is_finished_by_the_next_command(pair: Project, kind: str) -> None:
    pair.must("up")
    points = run_killed(pair, kind, -1, "destroy", "--yes")
    assert points >= (1 if kind == "message" else 6)
    for number in chosen(points):
        pair.must("up", "--yes")
        kill(pair, kind, number, "destroy", "--yes")
        if number % 2:
            check_that_up_recovers(pair)
        settle(pair)


@EVERYWHERE
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
