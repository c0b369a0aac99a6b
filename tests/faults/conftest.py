"""Projects of small real machines for the fault tests, and the proof that each leaves nothing."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from leftovers import engine
from real_machines import IS_ROOT, Project, make_small_archive

sys.path.insert(0, str(Path(__file__).parent))

pytest.register_assert_rewrite("fault_help")

from fault_help import pair_of  # noqa: E402 - its assertions are rewritten first


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A root file system archive of a few megabytes. What the Docker engine was given of it is removed at the end."""
    file = make_small_archive(tmp_path_factory.mktemp("archive") / "rootfs.tar")
    yield file
    if IS_ROOT:
        engine.forget_image(f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}")


@pytest.fixture
def make_project(archive: Path, tmp_path: Path) -> Iterator[Callable[..., Project]]:
    """Makes projects; what is left of their machines at the end is removed."""
    made: list[Project] = []

    def make(envfile: str, name: str = "project", home: Path | None = None) -> Project:
        project = Project(tmp_path / name, home or tmp_path / f"{name}-home")
        project.write(envfile.replace("@ARCHIVE@", str(archive)))
        made.append(project)
        return project

    yield make
    for project in made:
        project.run("destroy", "--yes")


@pytest.fixture
def provider() -> str:
    """The provider of a test that is not held against all of them."""
    return "chroot"


@pytest.fixture
def pair(make_project: Callable[..., Project], provider: str) -> Project:
    """Two machines, the second waiting for the first."""
    return make_project(pair_of(provider))
