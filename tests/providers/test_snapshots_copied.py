"""Machines that begin with a snapshot of another: `env up --from`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from real_machines import Project, make_small_archive, open_directory, open_project

from envup.testing import images

pytestmark = [pytest.mark.root, pytest.mark.slow]

ENVFILE = """\
name: copied
defaults:
  image: {tarball: "@ARCHIVE@"}
  provider: chroot
  mounts: []
  environment: {MARK: "@HOME@"}
machines:
  first:
    environment: {ITS: own}
    provision: [shell: "echo ${ITS-unset} >> /srv/steps"]
  second:
    environment: {ITS: own}
    provision: [shell: "echo ${ITS-unset} >> /srv/steps", shell: echo two >> /srv/steps]
  third:
    provision: [shell: "echo ${ITS-unset} >> /srv/steps"]
  fourth:
    environment: {ITS: own}
    user: nobody
    provision: [shell: "echo ${ITS-unset} >> /srv/steps"]
  strange:
    image: {tarball: "@ARCHIVE@", sha256: "0000000000000000000000000000000000000000000000000000000000000000"}
  apart:
    provider: lxc
"""


@pytest.fixture
def project() -> Iterator[Project]:
    with open_project(ENVFILE, images.built()) as made:
        yield made


def says(project: Project, machine: str, *command: str) -> list[str]:
    return project.must("exec", machine, "--", *command).split()


@pytest.mark.parametrize("provider", ["chroot", "lxc", "docker"])
def test_a_new_machine_has_the_files_and_the_steps_of_the_snapshot(project: Project, provider: str) -> None:
    project.must("up", "first", "--provider", provider)
    project.must("exec", "first", "--", "sh", "-c", "echo by-hand > /srv/state")
    project.must("snapshot", "create", "first", "clean")
    project.must("exec", "first", "--", "sh", "-c", "echo later > /srv/state")
    planned = json.loads(project.must("plan", "--from", "clean", "second", "--provider", provider, "--json"))
    assert [action["id"] for action in planned["actions"]] == ["second/create", "second/start", "second/provision:2"]
    assert planned["actions"][0]["origin"] == "first/clean"
    project.must("up", "--from", "first/clean", "second", "--provider", provider)
    assert says(project, "second", "cat", "/srv/state", "/srv/steps") == ["by-hand", "own", "two"]
    assert says(project, "second", "hostname") == ["second"]
    project.must("up", "--from", "first/clean", "third", "--provider", provider)
    assert says(project, "third", "cat", "/srv/steps") == ["own", "unset"]
    project.must("destroy", "first", "--yes")
    assert says(project, "second", "cat", "/srv/state") == ["by-hand"]
    project.must("stop", "second", "--grace", "1")
    project.must("up", "second", "--provider", provider)
    assert says(project, "second", "cat", "/srv/state", "/srv/steps") == ["by-hand", "own", "two"]


def test_steps_that_ran_with_other_variables_or_as_another_user_run_once_more(shared: Project) -> None:
    for machine, again in (("second", 0), ("third", 1), ("fourth", 1)):
        planned = json.loads(shared.must("plan", "--from", "clean", machine, "--json"))
        ids = [action["id"] for action in planned["actions"]]
        assert ids.count(f"{machine}/provision:1") == again


def test_a_snapshot_of_another_image_than_the_one_that_is_locked_is_refused() -> None:
    with open_directory() as directory:
        project, archive = Project(directory / "project", directory / "home"), make_small_archive(directory / "a.tar")
        text = f"{{provider: chroot, image: {{tarball: '{archive}'}}, mounts: []}}"
        project.write(f"machines: {{web: {text}, worker: {text}}}")
        project.must("up", "web")
        project.must("snapshot", "create", "web", "clean")
        make_small_archive(archive)
        project.must("lock")
        try:
            done = project.run("up", "--locked", "--from", "web/clean", "worker")
            assert (done.returncode, "image is locked at" in done.stderr) == (2, True), done.stderr
            assert project.machines()["worker"]["state"] == "absent"
        finally:
            project.must("destroy", "--yes")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("clean",), "no machine is named"),
        (("dirty", "second"), "there is no snapshot 'dirty'"),
        (("second/clean", "second"), "machine 'second' has no snapshot 'clean'"),
        (("clean", "first"), "machine 'first' is there already"),
        (("clean", "strange"), "with another image"),
        (("clean", "apart"), "machine 'apart' is of provider lxc"),
        (("clean", "second", "--no-cache"), "goes with none of"),
    ],
)
def test_what_cannot_be_is_refused(shared: Project, arguments: tuple[str, ...], text: str) -> None:
    done = shared.run("up", "--from", *arguments)
    assert (done.returncode, text in done.stderr) == (2, True), done.stderr
    assert [name for name, machine in shared.machines().items() if machine["state"] != "absent"] == ["first"]


@pytest.fixture(scope="module")
def shared() -> Iterator[Project]:
    """A project in which one machine has a snapshot, and nothing else is made."""
    with open_directory() as directory:
        made = Project(directory / "project", directory / "home")
        made.write(ENVFILE.replace("@ARCHIVE@", str(images.built())))
        made.must("up", "first")
        made.must("snapshot", "create", "first", "clean")
        yield made
        made.must("destroy", "--yes")


def test_after_a_killed_creation_it_begins_with_the_snapshot_all_the_same(project: Project) -> None:
    project.must("up", "first")
    project.must("exec", "first", "--", "sh", "-c", "head -c 60000000 /dev/urandom > /srv/large; echo one > /srv/state")
    project.must("snapshot", "create", "first", "clean")
    machines = project.home / "data/providers/chroot/machines"
    with project.start("up", "--from", "clean", "second") as making:
        deadline = time.monotonic() + 30
        while not list(machines.glob("*.second/upper")):
            assert time.monotonic() < deadline
        making.kill()
        making.communicate()
    project.must("up", "--from", "clean", "second", "--yes")
    assert says(project, "second", "cat", "/srv/state") == ["one"]
