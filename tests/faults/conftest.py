"""Projects of small real machines for the fault tests, and the proof that each leaves nothing."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from leftovers import engine
from real_machines import IS_ROOT, Project, make_small_archive, open_directory

sys.path.insert(0, str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1] / "providers"))

pytest.register_assert_rewrite("fault_help")

from fault_help import pair_of  # noqa: E402 - its assertions are rewritten first


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A root file system archive of a few megabytes. What the Docker engine was given of it is removed at the end."""
    file = make_small_archive(tmp_path_factory.mktemp("archive") / "rootfs.tar")
    yield file
    if IS_ROOT:
        engine.forget_image(f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}")


@pytest.fixture(scope="session")
def kits() -> Iterator[Path]:
    """The guest kit of virtual machines, which takes longer to make than a machine."""
    from envup_kvm.kits import ensure

    with open_directory() as directory:
        ensure(directory, print)
        yield directory / "kits"


@pytest.fixture
def make_project(archive: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Project]]:
    """Makes projects; what is left of their machines at the end is removed. The homes of virtual machines share a
    guest kit."""
    made: list[Project] = []

    def make(envfile: str, name: str = "project", home: Path | None = None) -> Project:
        home = home or directory / f"{name}-home"
        project = Project(directory / name, home)
        project.write(envfile.replace("@ARCHIVE@", str(archive)))
        if envfile.startswith("provider: kvm"):
            share_kit(request.getfixturevalue("kits"), home)
        made.append(project)
        return project

    with open_directory() as directory:
        yield make
        for project in made:
            project.run("destroy", "--yes")


def share_kit(kits: Path, home: Path) -> None:
    """Give a home the guest kit. Envup's directories are such as it makes them itself."""
    own = home / "data/providers/kvm"
    for path in (home, home / "data", home / "data/providers", own):
        path.mkdir(mode=0o711, exist_ok=True)
    (own / "kits").symlink_to(kits)


@pytest.fixture
def provider() -> str:
    """The provider of a test that is not held against all of them."""
    return "chroot"


@pytest.fixture
def pair(make_project: Callable[..., Project], provider: str) -> Project:
    """Two machines, the second waiting for the first."""
    return make_project(pair_of(provider))
