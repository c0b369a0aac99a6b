"""Snapshots of machines whose files are directories of the host, an image file, or images of an engine."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_machines import ENVUP, Project, open_project

from envup.testing import images

pytestmark = [pytest.mark.root, pytest.mark.slow]

PROVIDERS = ("chroot", "lxc", "docker")
DISK = "resources: {disk: 128MiB}\n"
ENVFILE = """\
name: snapshots
image: {tarball: "@ARCHIVE@"}
mounts: []
environment: {MARK: "@HOME@"}
provision: [shell: echo one > /srv/state]
"""


@pytest.fixture
def project(request: pytest.FixtureRequest) -> Iterator[Project]:
    """A project that is made up on each provider in turn, and of which nothing is left."""
    with open_project(ENVFILE, images.built()) as made:
        yield made


def state(project: Project) -> str:
    return project.must("exec", "--", "cat", "/srv/state").strip()


def write(project: Project, text: str) -> None:
    project.must("exec", "--", "sh", "-c", f"echo {text} > /srv/state")


@pytest.mark.parametrize(
    ("provider", "disk"), [*((provider, "") for provider in PROVIDERS), ("chroot", DISK), ("lxc", DISK)]
)
def test_a_machine_goes_back_to_what_its_files_were(project: Project, provider: str, disk: str) -> None:
    (project.directory / "Envfile").write_text((project.directory / "Envfile").read_text() + disk)
    project.must("up", "--provider", provider)
    project.must("snapshot", "create", "early")
    write(project, "two")
    project.must("snapshot", "create", "late")
    write(project, "three")
    for name, text in (("early", "one"), ("late", "two"), ("early", "one")):
        project.must("snapshot", "restore", name, "--yes")
        assert state(project) == text
    assert "early" in project.must("snapshot", "list")
    project.must("snapshot", "delete", "early")
    assert "early" not in project.must("snapshot", "list")
    assert project.run("snapshot", "restore", "early", "--yes").returncode == 2
    assert state(project) == "one"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_after_a_killed_restoration_the_machine_has_one_state_or_the_other(project: Project, provider: str) -> None:
    project.must("up", "--provider", provider)
    project.must("exec", "--", "sh", "-c", "head -c 30000000 /dev/urandom > /srv/large")
    project.must("snapshot", "create", "early")
    write(project, "two")
    for delay in (0.05, 0.1, 0.15, 0.2, 0.3):
        command = [str(ENVUP), "snapshot", "restore", "early", "--yes"]
        with subprocess.Popen(
            command, cwd=project.directory, env=project.environment, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as restoring:  # fmt: skip
            try:
                restoring.wait(delay)
            except subprocess.TimeoutExpired:
                os.kill(restoring.pid, signal.SIGKILL)
        project.must("up", "--yes", "--provider", provider, "--no-provision")
        assert state(project) in ("one", "two")
    project.must("snapshot", "restore", "early", "--yes")
    assert state(project) == "one"


def test_steps_run_that_a_killed_restoration_would_have_brought_back(project: Project) -> None:
    project.must("up", "--provider", "chroot")
    project.must("snapshot", "create", "one")
    file = project.directory / "Envfile"
    file.write_text(
        file.read_text().replace("/srv/state]", "/srv/state, shell: head -c 90000000 /dev/zero > /srv/large]")
    )
    project.must("up", "--yes", "--provider", "chroot")
    project.must("snapshot", "create", "both")
    project.must("snapshot", "restore", "one", "--yes")
    (machine,) = (project.home / "data/providers/chroot/machines").glob("*.default")
    with project.start("snapshot", "restore", "both", "--yes", stdout=subprocess.DEVNULL) as restoring:
        while not any(machine.glob("copying.*")):
            assert restoring.poll() is None, "there was no moment to kill it"
        restoring.kill()
    project.must("up", "--yes", "--provider", "chroot")
    assert project.must("exec", "--", "stat", "-c", "%s", "/srv/large") == "90000000\n"


def test_what_a_crash_left_of_a_snapshot_is_none(project: Project) -> None:
    project.must("up", "--provider", "chroot")
    (machine,) = (project.home / "data/providers/chroot/machines").glob("*.default")
    half = Path(machine) / "snapshots/.half/upper"
    half.mkdir(parents=True)
    assert "half" not in project.must("snapshot", "list")
    project.must("snapshot", "create", "half")
    write(project, "two")
    project.must("snapshot", "restore", "half", "--yes")
    assert state(project) == "one"
    half.mkdir(parents=True)
    (machine / "copying.1").mkdir()
    project.must("snapshot", "delete", "half")
    assert [*machine.glob("copying.*"), *(machine / "snapshots").iterdir()] == []


def test_the_configuration_of_a_snapshot_holds_no_secret_and_nothing_outlives_the_machine(project: Project) -> None:
    envfile = project.directory / "Envfile"
    secret = f"secret-{os.urandom(8).hex()}"
    envfile.write_text(envfile.read_text().replace("MARK:", 'TOKEN: "${TOKEN}", MARK:'))
    project.environment["TOKEN"] = secret
    project.must("up", "--provider", "docker")
    project.must("snapshot", "create", "early")
    project.must("snapshot", "restore", "early", "--yes")
    assert project.must("exec", "--", "printenv", "TOKEN").strip() == secret
    project.must("snapshot", "create", "late")
    chosen = ("--filter", "label=envup.snapshot", "--filter", f"label=envup.environment={project.id}")
    kept = ["docker", "images", "--quiet", "--no-trunc", *chosen]
    found = subprocess.run(kept, capture_output=True, text=True, check=True).stdout.split()
    assert len(found) == 2
    describe = ["docker", "inspect", "--format", "{{json .Config}}", *found]
    described = subprocess.run(describe, capture_output=True, text=True, check=True).stdout
    assert "TOKEN=" in described
    assert secret not in described
    listed = project.must("images", "--json")
    assert not [digest for digest in found if digest in listed]
    project.must("snapshot", "delete", "early")
    assert "early" not in project.must("snapshot", "list")
    project.must("destroy", "--yes")
    assert subprocess.run(kept, capture_output=True, text=True, check=True).stdout == ""
