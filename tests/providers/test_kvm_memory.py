"""Virtual machines that go on from the memory of a layer, and those that must boot instead."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from real_machines import Project, open_directory, remains

from envup.testing import images

pytestmark = [pytest.mark.root, pytest.mark.slow]

ENVFILE = """\
name: memory
image: {tarball: "@ARCHIVE@"}
provider: kvm
environment: {MARK: "@HOME@"}
provision:
  - {name: first, shell: "echo first > /srv/first"}
  - {name: second, shell: "echo text > /srv/second; date +%s%N > /dev/shm/state"}
"""
BOOTS = "it boots, as it cannot go on from the memory of its layer"


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    """One whose machine has been provisioned, so that its memory is kept, and destroyed."""
    with open_directory() as directory:
        made = Project(directory / "project", directory / "home")
        made.write(ENVFILE.replace("@ARCHIVE@", str(images.built())))
        (made.directory / "text").write_text("text\n")
        made.must("up")
        made.must("destroy", "--yes")
        yield made
        made.must("destroy", "--yes")
        made.must("prune")
        assert remains(made) == {}


@pytest.fixture(autouse=True)
def _gone(project: Project) -> Iterator[None]:
    """The machine is gone after each test, and the Envfile is what it was."""
    text = (project.directory / "Envfile").read_text()
    yield
    (project.directory / "Envfile").write_text(text)
    project.must("destroy", "--yes")


def add(project: Project, line: str) -> None:
    with (project.directory / "Envfile").open("a") as file:
        file.write(f"{line}\n")


def memories(project: Project) -> list[Path]:
    return sorted(project.home.glob("data/providers/kvm/layers/*/memory.img"))


def has_gone_on(project: Project) -> bool:
    return project.run("exec", "--", "test", "-s", "/dev/shm/state").returncode == 0


def test_a_new_machine_goes_on_with_mounts_keys_and_a_network_of_its_own(project: Project) -> None:
    add(project, "hostname: another")
    keys = set()
    for _ in range(2):
        said = project.must("up")
        assert BOOTS not in said
        assert has_gone_on(project)
        assert project.must("exec", "--", "cat", "/workspace/text", "/srv/second") == "text\ntext\n"
        assert project.must("exec", "--", "hostname") == "another\n"
        assert project.must("exec", "--", "getent", "hosts", "another").split()[0].startswith("10.")
        (key,) = project.home.glob("data/providers/kvm/machines/*/host_key.pub")
        (shown,) = project.home.glob("run/kvm/*/known_hosts")
        assert key.read_text().split()[1] in shown.read_text()
        keys.add(key.read_text())
        project.must("restart")
        assert not has_gone_on(project)
        assert project.must("exec", "--", "cat", "/srv/second") == "text\n"
        project.must("destroy", "--yes")
    assert len(keys) == 2


@pytest.mark.parametrize("change", ["resources: {memory: 300MiB}", "resources: {cpus: 1}", "kvm: {network: none}"])
def test_a_machine_of_another_shape_boots(project: Project, change: str) -> None:
    add(project, change)
    assert BOOTS in project.must("up")
    assert not has_gone_on(project)
    assert project.must("exec", "--", "cat", "/srv/second") == "text\n"


def test_a_machine_that_does_not_want_it_boots_and_keeps_none(project: Project) -> None:
    before = memories(project)
    add(project, "kvm: {keep_memory: false}")
    assert BOOTS not in project.must("up")
    assert not has_gone_on(project)
    project.must("destroy", "--yes")
    envfile = project.directory / "Envfile"
    envfile.write_text(envfile.read_text().replace("echo first", "echo changed"))
    project.must("up")
    assert has_gone_on(project), "its steps have run"
    assert memories(project) == before


def test_a_damaged_memory_is_told_and_nothing_is_lost(project: Project) -> None:
    (memory,) = memories(project)
    whole = memory.read_bytes()
    try:
        for damaged in (whole[: len(whole) // 2], whole[:200]):
            memory.write_bytes(damaged)
            assert BOOTS in project.must("up")
            assert not has_gone_on(project)
            assert project.must("exec", "--", "cat", "/srv/second") == "text\n"
            project.must("destroy", "--yes")
    finally:
        memory.write_bytes(whole)
    assert BOOTS not in project.must("up")
    assert has_gone_on(project)


def test_a_machine_that_knows_a_secret_keeps_none(project: Project) -> None:
    before = memories(project)
    other = Project(project.directory.parent / "secret", project.home, {"TOKEN": "hunter2-secret"})
    other.write((project.directory / "Envfile").read_text())
    (other.directory / "text").write_text("text\n")
    envfile = other.directory / "Envfile"
    envfile.write_text(envfile.read_text().replace("environment: {", 'environment: {TOKEN: "${TOKEN}", '))
    try:
        other.must("up")
        assert memories(other) == before
    finally:
        other.must("destroy", "--yes")
