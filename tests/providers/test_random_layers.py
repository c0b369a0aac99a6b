"""Layers and snapshots under random commands: the files of machines are always what a model says, only those steps run
that must, and no more is kept than the model knows of.

The commands are the same in every run, unless `ENVUP_SEED` asks for others. A failure tells those that led to it.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker_daemon import daemon
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from layer_model import IMAGE
from random_layers import Commands
from real_machines import make_small_archive, open_directory

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory for projects with an archive that holds the model's image."""
    with open_directory() as directory:
        with tarfile.open(make_small_archive(directory / "image.tar"), "a") as archive:
            for path, text in IMAGE.items():
                member = tarfile.TarInfo(path.lstrip("/"))
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text.encode()))
        yield directory


def run(provider: str, place: Path, engine: str, courses: int, operations: int) -> None:
    """Random operations, at least so many, in that many courses; each begins with nothing."""

    class Course(Commands):
        pass

    Course.provider, Course.place, Course.archive, Course.engine = provider, place, place / "image.tar", engine
    Course.count = 0
    if chosen := os.environ.get("ENVUP_SEED"):
        seed(int(chosen))(Course)
    run_state_machine_as_test(
        Course,
        settings=settings(
            max_examples=courses,
            stateful_step_count=50,
            derandomize=not chosen,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        ),
    )
    assert Course.count >= operations


@pytest.mark.parametrize("provider", ["chroot", "lxc"])
def test_five_hundred_random_operations_on_each(place: Path, provider: str) -> None:
    run(provider, place, "unix:///no/engine.sock", 11, 500)


def test_a_hundred_random_operations_of_docker(place: Path) -> None:
    with daemon() as own:
        run("docker", place, own.address, 3, 100)
