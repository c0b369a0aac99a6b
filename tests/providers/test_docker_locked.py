"""Images of a Docker engine that a lock file has: known everywhere by the digest in their registry."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from docker_engines import busybox, imported
from docker_registry import push, registry
from real_machines import Project, make_small_archive
from test_docker_images import docker, engine, names, variant

from envup.engine import Engine as EnvupEngine
from envup.errors import EnvupError
from envup.events import Event, silent
from envup.image import FetchContext
from envup.model import Pin
from envup.planner import Wish
from envup.project import Project as EnvupProject
from envup.testing.subject import Subject
from envup.value import replace
from envup_docker.engine import Engine
from envup_docker.sources import DockerSource

__all__ = ["engine", "names"]

PROVIDER = "docker"


@pytest.fixture
def moved(engine: Engine, names: list[str], tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The name of an image in a registry that stands for another one since, and the digest of what it stood for."""
    with imported(engine, busybox(shell=True)) as base, registry(tmp_path) as address:
        name = f"{address}/test/moved:1"
        old, new = variant(engine, base, "old"), variant(engine, base, "new")
        digest = push(engine, old, name)
        names += [f"{address}/test/moved@{digest}", name, old, new]
        push(engine, new, name)
        yield name, digest


def test_a_pulled_image_is_locked_at_its_digest_in_the_registry(
    subject: Subject, moved: tuple[str, str], tmp_path: Path
) -> None:
    name, digest = moved
    image = subject.provider.obtain(docker(name), silent)
    assert image.environment["VARIANT"] == "new"
    assert image.locked.digest not in ("", digest)
    (tmp_path / "work").mkdir()
    fetched = DockerSource().fetch(docker(name).options, tmp_path / "a.tar", FetchContext(tmp_path / "work", silent))
    assert fetched.pin == image.locked


def test_what_is_locked_is_pulled_and_the_users_own_name_stays_where_it_is(
    subject: Subject, engine: Engine, moved: tuple[str, str], tmp_path: Path
) -> None:
    name, digest = moved
    now = subject.provider.obtain(docker(name), silent)
    locked = replace(docker(name), pin=Pin(digest))
    image = subject.provider.obtain(locked, silent)
    assert (image.environment["VARIANT"], image.locked.digest) == ("old", digest)
    assert engine.call("GET", f"/images/{name}/json")["Id"] == now.digest != image.digest
    (tmp_path / "work").mkdir()
    context = FetchContext(tmp_path / "work", silent, Pin(digest))
    fetched = DockerSource().fetch(docker(name).options, tmp_path / "a.tar", context)
    assert (fetched.environment["VARIANT"], fetched.pin.digest) == ("old", digest)


def test_what_is_locked_and_already_there_needs_no_registry(
    subject: Subject, engine: Engine, names: list[str], tmp_path: Path
) -> None:
    with imported(engine, busybox(shell=True)) as base:
        image = subject.provider.obtain(docker(base), silent)
        assert image.locked.digest == image.digest
        assert subject.provider.obtain(replace(docker(base), pin=image.locked), silent) == image
    with registry(tmp_path) as address:
        name = f"{address}/test/none:1"
        with pytest.raises(EnvupError, match="cannot pull"):
            subject.provider.obtain(replace(docker(name), pin=Pin(f"sha256:{'0' * 64}")), silent)


def test_up_makes_a_machine_from_the_image_that_is_locked(
    engine: Engine, moved: tuple[str, str], tmp_path: Path
) -> None:
    name, digest = moved
    project = Project(tmp_path / "project", tmp_path / "home", os.environ)
    project.write(f"{{provider: docker, image: {{docker: '{name}'}}, mounts: []}}")
    project.must("lock")
    lock = project.directory / "Envfile.lock"
    (current,) = (line for line in lock.read_text().splitlines() if ".digest = " in line)
    assert digest not in current
    lock.write_text(lock.read_text().replace(current, f'{current.partition(" = ")[0]} = "{digest}"'))
    try:
        project.must("up", "--locked")
        assert project.must("exec", "--", "sh", "-c", "echo $VARIANT") == "old\n"
        lock.write_text(lock.read_text().replace(digest, current.split('"')[-2]))
        assert "image is locked at" in project.must("plan")
        project.must("up", "--locked", "--yes")
        assert project.must("exec", "--", "sh", "-c", "echo $VARIANT") == "new\n"
    finally:
        project.run("destroy", "--yes")
        project.run("prune")


@pytest.fixture
def local(engine: Engine, names: list[str], tmp_path: Path) -> Iterator[tuple[str, Callable[[int], None]]]:
    """A name in the engine, and what has it stand for the one or the other of two images, by number."""
    with (
        make_small_archive(tmp_path / "one.tar").open("rb") as one,
        make_small_archive(tmp_path / "two.tar").open("rb") as two,
        imported(engine, one) as first,
        imported(engine, two) as second,
    ):
        repository = f"envup-test-{uuid.uuid4().hex[:12]}"
        names.append(f"{repository}:1")

        def stand_for(number: int) -> None:
            engine.call("POST", f"/images/{(first, second)[number]}/tag", query={"repo": repository, "tag": "1"})

        stand_for(0)
        yield f"{repository}:1", stand_for


@pytest.fixture
def project(local: tuple[str, Callable[[int], None]], tmp_path: Path) -> Iterator[Project]:
    """One with a machine of that image and a step that always leaves something else."""
    made = Project(tmp_path / "project", tmp_path / "home", os.environ)
    made.write(
        f"{{provider: docker, image: {{docker: '{local[0]}'}}, mounts: [], provision: [shell: date +%N >/made]}}"
    )
    yield made
    made.must("destroy", "--yes")
    made.must("prune")


def test_layers_of_what_the_name_stands_for_are_not_those_of_the_image_that_is_locked(
    local: tuple[str, Callable[[int], None]], project: Project, tmp_path: Path
) -> None:
    lock, aside, found = project.directory / "Envfile.lock", tmp_path / "aside", list[list[str]]()
    project.must("lock")
    lock.rename(aside)
    local[1](1)
    for locked in ((), ("--locked",), ("--locked",)):
        if locked and aside.exists():
            aside.rename(lock)
        project.must("up", *locked)
        found.append(project.must("exec", "--", "sh", "-c", "cat /made /etc/serial").splitlines())
        project.must("destroy", "--yes")
    of_name, of_lock, again = found
    assert of_lock == again and of_lock[1] != of_name[1]


def test_a_layer_of_another_image_than_the_one_that_was_got_is_refused(
    local: tuple[str, Callable[[int], None]], project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.must("up")
    project.must("destroy", "--yes")
    monkeypatch.setenv("ENVUP_HOME", str(project.home))

    def emit(event: Event) -> None:
        if (event.action, event.kind) == ("default/image", "finished"):
            local[1](0)

    up = EnvupEngine(EnvupProject.open(project.directory / "Envfile", emit=emit, make=True))
    plan = up.plan_up(Wish())
    assert any(action.layer for action in plan.actions)
    local[1](1)
    report = up.apply(plan)
    assert list(report.failed) == ["default/create"] and "is gone" in str(report.failed["default/create"])
    assert project.machines()["default"]["state"] == "absent"
