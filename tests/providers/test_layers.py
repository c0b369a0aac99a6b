"""Machines begin with what steps left: on every provider, in every project of a user, and not where they must not."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from real_machines import Project, make_small_archive, open_directory, remains

from envup.testing import images

pytestmark = [pytest.mark.root, pytest.mark.slow]

PROVIDERS = ("chroot", "docker", "lxc")
ENVFILE = """\
name: layers
image: {tarball: "@ARCHIVE@"}
mounts: []
environment: {MARK: "@HOME@"}
provision:
  - {name: first, shell: "date +%s%N > /srv/first; rm -f /etc/issue"}
  - {name: second, copy: {from: conf, to: /srv/conf}}
  - {name: third, shell: "cat /srv/conf > /srv/third"}
  - {name: always, shell: "echo ran >> /srv/always", run: always}
"""


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory for projects that share one home."""
    with open_directory() as directory:
        yield directory


@pytest.fixture
def project(place: Path, request: pytest.FixtureRequest) -> Iterator[Project]:
    """A project with the Envfile above; its machine and all layers are gone at the end."""
    made = new(place, request.node.name)
    yield made
    made.must("destroy", "--yes")
    made.must("prune")
    assert remains(made) == {}


def new(place: Path, name: str, **variables: str) -> Project:
    project = Project(place / name, place / "home", variables)
    project.write(ENVFILE.replace("@ARCHIVE@", str(images.built())))
    (project.directory / "conf").write_text("one\n")
    return project


def knowing(place: Path, token: str) -> Project:
    project = new(place, "secret", TOKEN=token)
    edit(project, 'MARK: "@HOME@"'.replace("@HOME@", str(project.home)), f'MARK: "{project.home}", TOKEN: "${{TOKEN}}"')
    return project


def edit(project: Project, old: str, new: str) -> None:
    file = project.directory / "Envfile"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def steps(project: Project, *options: str) -> list[str]:
    """Those that `up` runs; it is carried out as it was planned."""
    plan = json.loads(project.must("plan", "--json", *options))
    project.must("up", "--yes", *options)
    return [action["detail"] for action in plan["actions"] if action["verb"] == "provision"]


def anew(project: Project, *options: str) -> list[str]:
    """The steps that `up` runs after `destroy`."""
    project.must("destroy", "--yes")
    return steps(project, *options)


def read(project: Project, *names: str) -> str:
    return project.must("exec", "--", "cat", *(f"/srv/{name}" for name in names))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_machine_that_is_made_again_runs_what_changed_alone(project: Project, provider: str) -> None:
    on = ("--provider", provider)
    assert steps(project, *on) == ["first", "second", "third", "always"]
    made = read(project, "first")
    assert anew(project, *on) == ["always"]
    assert read(project, "first", "third", "always") == f"{made}one\nran\n"
    assert project.run("exec", "--", "test", "-e", "/etc/issue").returncode == 1
    assert steps(project, *on) == ["always"]
    edit(project, "cat /srv/conf > /srv/third", "echo changed > /srv/third")
    assert anew(project, *on) == ["third", "always"]
    assert read(project, "first", "third", "always") == f"{made}changed\nran\n"
    (project.directory / "conf").write_text("two\n")
    assert anew(project, *on) == ["second", "third", "always"]
    assert read(project, "first", "conf") == f"{made}two\n"
    edit(project, "echo changed", "cat /srv/conf")
    (project.directory / "conf").write_text("one\n")
    assert anew(project, *on) == ["always"]
    assert read(project, "first", "third") == f"{made}one\n"


@pytest.mark.parametrize("provider", ["chroot", "lxc"])
def test_machines_of_one_layer_have_ids_of_their_own(project: Project, provider: str) -> None:
    edit(project, "cat /srv/conf > /srv/third", "od -An -N16 -tx1 /dev/urandom | tr -d ' ' > /etc/machine-id")
    project.must("up", "--provider", provider)
    first = project.must("exec", "--", "cat", "/etc/machine-id")
    assert anew(project, "--provider", provider) == ["always"]
    second = project.must("exec", "--", "cat", "/etc/machine-id")
    assert len(first) == len(second) == 33
    assert first != second
    project.must("restart")
    assert project.must("exec", "--", "cat", "/etc/machine-id") == second


def test_another_project_begins_with_the_same_layer(project: Project, place: Path) -> None:
    project.must("up")
    other = new(place, "other")
    try:
        assert steps(other) == ["always"]
        assert read(other, "first") == read(project, "first")
        other.must("exec", "--", "sh", "-c", "echo own > /srv/first")
    finally:
        other.must("destroy", "--yes")
    assert anew(project) == ["always"]
    assert read(project, "first") != "own\n"


def test_options_have_steps_run_whatever_layers_there_are(project: Project) -> None:
    project.must("up")
    made = read(project, "first")
    assert anew(project, "--refresh", "third") == ["third", "always"]
    assert read(project, "first") == made
    assert anew(project, "--no-cache") == ["first", "second", "third", "always"]
    again = read(project, "first")
    assert again != made
    assert anew(project) == ["always"]
    assert read(project, "first") == again, "the layer is that of before"
    assert anew(project, "--no-provision") == []
    assert project.run("exec", "--", "test", "-e", "/srv/first").returncode == 1


def test_a_step_that_names_a_mount_is_in_no_layer(project: Project, place: Path) -> None:
    edit(project, "mounts: []", "mounts: ['.:/project']")
    edit(project, "cat /srv/conf > /srv/third", "cat /project/conf > /srv/third; touch /project/installed")
    assert steps(project) == ["first", "second", "third", "always"]
    (project.directory / "installed").unlink()
    assert anew(project) == ["third", "always"]
    assert (project.directory / "installed").exists()


def test_what_a_step_says_of_name_servers_stays(project: Project) -> None:
    edit(project, "rm -f /etc/issue", "echo 'nameserver 10.9.9.9' > /etc/resolv.conf")
    project.must("up")
    assert anew(project) == ["always"]
    assert project.must("exec", "--", "cat", "/etc/resolv.conf") == "nameserver 10.9.9.9\n"


def test_a_secret_is_in_the_key_and_not_in_what_is_noted(project: Project, place: Path) -> None:
    secret = knowing(place, "hunter2-secret")
    try:
        secret.must("up")
        assert anew(knowing(place, "another")) == ["first", "second", "third", "always"]
        assert anew(knowing(place, "hunter2-secret")) == ["always"]
    finally:
        secret.must("destroy", "--yes")
    noted = [path.read_text() for path in (place / "home").glob("data/providers/chroot/layers/*/layer.json")]
    assert noted
    assert not [text for text in noted if "hunter2-secret" in text]


def test_a_machine_that_was_worked_in_or_failed_leaves_no_layer(project: Project) -> None:
    edit(project, "cat /srv/conf > /srv/third", "exit 1")
    assert project.run("up").returncode == 1
    project.must("exec", "--", "touch", "/srv/worked")
    edit(project, "exit 1", "cat /srv/conf > /srv/third")
    project.must("up")
    assert anew(project) == ["third", "always"]
    assert project.run("exec", "--", "test", "-e", "/srv/worked").returncode == 1


@pytest.mark.parametrize("fetched", [True, False])
def test_of_two_commands_one_makes_the_layer_and_the_other_waits(project: Project, place: Path, fetched: bool) -> None:
    if fetched:
        project.must("images", "build")
    else:
        project.must("prune")
    edit(project, "date +%s%N", "sleep 2; date +%s%N")
    other = new(place, "other-at-once")
    edit(other, "date +%s%N", "sleep 2; date +%s%N")
    try:
        with project.start("up") as first:
            other.must("up")
            assert first.wait(60) == 0
        assert read(project, "first") == read(other, "first")
    finally:
        other.must("destroy", "--yes")


def test_a_command_that_runs_no_step_waits_for_none_that_does(project: Project, place: Path) -> None:
    edit(project, "date +%s%N", "echo waits; timeout 30 sh -c 'until test -e /srv/go; do sleep 0.1; done'; date +%s%N")
    other = new(place, "other-without-steps")
    (other.directory / "Envfile").write_text((project.directory / "Envfile").read_text())
    try:
        with project.start("up") as first:
            assert first.stdout is not None and any("waits" in line for line in first.stdout)
            other.must("up", "--no-provision")
            assert first.poll() is None
            project.must("exec", "--", "touch", "/srv/go")
            first.stdout.read()
    finally:
        other.must("destroy", "--yes")


def test_layers_are_listed_and_freed(project: Project) -> None:
    project.must("up")
    listed = json.loads(project.must("images", "--json"))["layers"]
    assert [layer["step"] for layer in listed if layer["provider"] == "chroot"] == ["third", "second", "first"]
    assert not any(layer["in_use"] for layer in listed)
    project.must("prune", "--size", "1B", "--unused-for", "1h")
    kept = json.loads(project.must("images", "--json"))["layers"]
    assert [layer["step"] for layer in kept if layer["provider"] == "chroot"] == ["third", "second", "first"]
    assert anew(project) == ["always"]
    project.must("prune")
    kept = json.loads(project.must("images", "--json"))["layers"]
    told = {layer["step"]: layer["in_use"] for layer in kept if layer["provider"] == "chroot"}
    assert told == {"first": True, "second": True, "third": True}
    assert read(project, "third") == "one\n"
    project.must("restart")
    assert read(project, "third") == "one\n"


def test_the_longest_unused_are_freed_beyond_the_limit(project: Project, place: Path) -> None:
    project.must("up")
    small = new(place, project.directory.name, ENVUP_LAYERS="1B")
    edit(small, "cat /srv/conf", "tac /srv/conf")
    small.must("destroy", "--yes")
    done = small.run("up", "--yes")
    assert (done.returncode, (done.stdout + done.stderr).count("ENVUP_LAYERS")) == (0, 1), done
    kept = json.loads(project.must("images", "--json"))["layers"]
    assert [layer["step"] for layer in kept if layer["provider"] == "chroot" and not layer["in_use"]] == []
    wrong = new(place, project.directory.name, ENVUP_LAYERS="much")
    edit(wrong, "cat /srv/conf", "head /srv/conf")
    wrong.must("destroy", "--yes")
    done = wrong.run("up")
    assert (done.returncode, "ENVUP_LAYERS" in done.stderr) == (2, True), done
    assert project.machines()["default"]["state"] == "absent"


DOCKERFILE = """\
name: layers
provider: docker
image: {dockerfile: Dockerfile}
mounts: []
environment: {MARK: "@HOME@"}
provision: [{name: only, shell: "cat /proc/sys/kernel/random/uuid > /made"}]
"""


def test_machines_of_images_that_the_engine_gets_itself_begin_with_layers(project: Project) -> None:
    make_small_archive(project.directory / "small.tar")
    (project.directory / "Dockerfile").write_text("FROM scratch\nADD small.tar /\n")
    project.write(DOCKERFILE)
    project.must("up", "--trust")
    made = project.must("exec", "--", "cat", "/made")
    assert anew(project) == []
    assert project.must("exec", "--", "cat", "/made") == made


def changed_during_the_last_step(project: Project, change: Callable[[], object]) -> None:
    """Make the machine, and change something while its third step runs, which reads nothing."""
    edit(project, "cat /srv/conf > /srv/third", "touch /srv/begun; sleep 3; echo done > /srv/third")
    with project.start("up", "--yes", "--provider", "chroot", stdout=subprocess.DEVNULL) as making:
        while not any(project.home.glob("data/providers/chroot/machines/*/upper/srv/begun")):
            assert making.poll() is None
        change()
        assert making.wait() == 0


def test_a_file_that_changed_while_a_later_step_ran_is_in_no_layer(project: Project) -> None:
    changed_during_the_last_step(project, lambda: (project.directory / "conf").write_text("two\n"))
    assert anew(project, "--provider", "chroot") == ["second", "third", "always"]
    assert read(project, "conf") == "two\n"


def test_what_somebody_did_in_a_machine_while_it_was_made_is_in_no_layer(project: Project) -> None:
    changed_during_the_last_step(project, lambda: project.must("exec", "--", "touch", "/srv/strange"))
    assert anew(project, "--provider", "chroot") == ["third", "always"]
    assert project.run("exec", "--", "test", "-e", "/srv/strange").returncode == 1
    assert anew(project, "--provider", "chroot") == ["always"]


REACHED = """\
name: layers
defaults: {provider: chroot, image: {tarball: "@ARCHIVE@"}, mounts: [], environment: {MARK: "@HOME@"}}
machines:
  web:
    provision:
      - {name: waits, shell: "until [ -e /srv/reached ]; do sleep 0.1; done"}
      - {name: late, shell: "echo late > /srv/late"}
  db:
    provision: [{name: reaches, fabric: {file: fabfile.py, tasks: [reach]}}]
"""
FABFILE = """\
import time

from fabric import Connection, task


@task
def reach(_c):
    for _ in range(600):
        try:
            return Connection("web").run("touch /srv/reached", hide=True)
        except Exception:
            time.sleep(0.1)
"""


def test_of_a_machine_that_a_step_of_another_one_reached_nothing_is_kept(project: Project) -> None:
    project.write(REACHED.replace("@ARCHIVE@", str(images.built())))
    (project.directory / "fabfile.py").write_text(FABFILE)
    project.must("up", "--yes", "--trust")
    project.must("destroy", "--yes")
    actions = json.loads(project.must("plan", "--json"))["actions"]
    assert {one["detail"] for one in actions if one["verb"] == "provision"} == {"waits", "late", "reaches"}
