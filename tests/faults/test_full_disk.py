"""Full disks: clear errors, nothing half-made, and a way on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_help import NAMESPACED, check_that_up_recovers, pair_of
from real_machines import Project, remains

pytestmark = [pytest.mark.root, pytest.mark.slow]

CAPACITY = 12 << 20


@pytest.fixture
def small_home(tmp_path: Path) -> Iterator[Path]:
    """A home on a file system of its own that is soon full."""
    home = tmp_path / "small"
    home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={CAPACITY},mode=711", "small", str(home)], check=True)
    yield home
    subprocess.run(["umount", "--lazy", str(home)], check=True)


def fill(home: Path, free: int) -> Path:
    """Leave `free` bytes on the file system of `home`."""
    ballast = home / "ballast"
    state = os.statvfs(home)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, state.f_bavail * state.f_frsize - free))
    return ballast


@pytest.mark.parametrize(
    ("provider", "free"),
    [*(("chroot", free) for free in (0, 64 << 10, 1 << 20, 3 << 20, 4 << 20)), ("lxc", 0), ("lxc", 3 << 20)],
)
def test_a_full_disk_is_told_and_leaves_nothing_half_made(
    make_project: Callable[..., Project], small_home: Path, provider: str, free: int
) -> None:
    project = make_project(pair_of(provider), home=small_home)
    ballast = fill(small_home, free)
    done = project.run("up")
    assert done.returncode == 1, (done.stdout, done.stderr)
    check_that_space_is_asked_for(done)
    left = {kind: names for kind, names in remains(project).items() if kind not in ("mounts", "records")}
    assert left == {}
    ballast.unlink()
    project.must("up")
    project.must("destroy", "--yes")
    assert set(remains(project)) <= {"mounts"}


def check_that_space_is_asked_for(done: subprocess.CompletedProcess[str]) -> None:
    assert "space" in done.stderr or "full" in done.stderr, done.stderr
    assert "bug" not in done.stderr, done.stderr


@NAMESPACED
@pytest.mark.parametrize("free", [0, 16 << 10, 64 << 10])
def test_what_fills_a_disk_can_be_stopped_and_destroyed(
    make_project: Callable[..., Project], small_home: Path, provider: str, free: int
) -> None:
    project = make_project(pair_of(provider), home=small_home)
    project.must("up")
    ballast = fill(small_home, free)
    project.must("stop")
    project.must("destroy", "--yes")
    ballast.unlink()
    assert set(remains(project)) <= {"mounts"}
    project.must("destroy", "--yes")  # room is kept anew for the next time
    fill(small_home, 0)
    project.must("prune")


@NAMESPACED
@pytest.mark.parametrize("free", [0, 8 << 10])
def test_a_machine_that_cannot_be_started_on_a_full_disk_starts_when_there_is_space(
    make_project: Callable[..., Project], small_home: Path, provider: str, free: int
) -> None:
    project = make_project(pair_of(provider), home=small_home)
    project.must("up")
    project.must("stop")
    ballast = fill(small_home, free)
    done = project.run("up")
    if done.returncode:
        assert done.returncode == 1
        check_that_space_is_asked_for(done)
    ballast.unlink()
    check_that_up_recovers(project)
    project.must("destroy", "--yes")
    assert set(remains(project)) <= {"mounts"}
