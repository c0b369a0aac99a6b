"""Every example runs unchanged on every provider: up, its program, up once more with nothing to do, destroy, nothing
left."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_machines import Project, open_directory, remains

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(1200)]

EXAMPLES = Path(__file__).parents[1] / "examples"
PROVIDERS = ("chroot", "docker", "lxc", "kvm")
RUN_ALWAYS = {"web": ["default/provision:3"], "pair": ["db/provision:2"], "deploy": ["default/provision:2"]}
"""Actions that a second `up` repeats, since their steps say `run: always`."""
TRUSTED = {"deploy"}
"""Those that need consent."""


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """One home for all examples, so that their image is built once."""
    with open_directory() as directory:
        yield directory / "home"


@pytest.fixture(params=PROVIDERS)
def provider(request: pytest.FixtureRequest) -> str:
    """Every provider in the box."""
    return str(request.param)


@pytest.fixture
def example(request: pytest.FixtureRequest, provider: str, home: Path, tmp_path: Path) -> Iterator[Project]:
    """A copy of the example that the test is named for, made up; destroyed and checked for remains at the end."""
    name = request.function.__name__.partition("example_")[2].partition("_")[0]
    project = copied(name, home, tmp_path)
    try:
        project.must("validate")
        project.must("up", "--provider", provider, *(["--trust"] if name in TRUSTED else ()))
        assert {machine["provider"] for machine in project.machines().values()} == {provider}
        yield project
        assert repeated(project) == RUN_ALWAYS.get(name, [])
        project.must("up")
    finally:
        done = project.run("destroy", "--yes")
    assert done.returncode == 0, done.stderr
    assert remains(project) == {}


def copied(name: str, home: Path, place: Path) -> Project:
    """A project that is a copy of an example."""
    project = Project(place / name, home)
    shutil.copytree(EXAMPLES / name, project.directory, ignore=shutil.ignore_patterns(".envup", "rootfs*"))
    if (EXAMPLES / name / "make-rootfs").exists():
        shutil.copy(EXAMPLES / name / "make-rootfs", project.directory)
        subprocess.run([project.directory / "make-rootfs"], check=True)
    return project


def repeated(project: Project) -> list[str]:
    """The steps that `up` would run again."""
    plan = json.loads(project.must("plan", "--json"))
    return [action["id"] for action in plan["actions"] if action["verb"] != "ready"]


def test_every_example_is_tested() -> None:
    names = {path.parent.name for path in EXAMPLES.glob("*/Envfile")}
    tested = {
        name.partition("example_")[2].partition("_")[0] for name in globals() if name.startswith("test_the_example_")
    }
    assert tested == names


def test_the_example_hello_greets(example: Project) -> None:
    assert example.must("exec", "--", "cat", "/root/hello").startswith("Hello from Debian GNU/Linux 12")


def steps(project: Project, provider: str) -> list[str]:
    """Those that `up` runs."""
    plan = json.loads(project.must("plan", "--json", "--provider", provider))
    project.must("up", "--yes", "--provider", provider)
    return [action["detail"] for action in plan["actions"] if action["verb"] == "provision"]


def test_the_example_web_serves_the_mounted_page_and_is_made_anew_from_layers(example: Project, provider: str) -> None:
    def page() -> str:
        with urllib.request.urlopen("http://127.0.0.1:8080/", timeout=10) as answer:
            return str(answer.read().decode())

    assert "Served by nginx" in page()
    file = example.directory / "pages/index.html"
    file.write_text(file.read_text().replace("Served", "Still served"))
    assert "Still served by nginx" in page()
    example.must("restart")
    assert "Still served by nginx" in page()
    example.must("destroy", "--yes")
    assert steps(example, provider) == ["serve"]
    assert "Still served by nginx" in page()
    example.must("destroy", "--yes")
    with (example.directory / "nginx.conf").open("a") as file:
        file.write("# changed\n")
    assert steps(example, provider) == ["configuration", "serve"]
    assert "Still served by nginx" in page()


def test_the_example_deploy_serves_the_release_that_was_edited_last(example: Project) -> None:
    def page() -> str:
        with urllib.request.urlopen("http://127.0.0.1:8090/", timeout=30) as answer:
            return str(answer.read().decode())

    first = page()
    greeting = example.directory / "app/greeting.txt"
    assert first.startswith(f"{greeting.read_text().strip()} This is release ")
    greeting.write_text("Hello again.\n")
    example.must("up")
    assert page().startswith("Hello again. This is release ")
    assert page() != first
    releases = example.must("exec", "--", "ls", "/srv/app/releases").split()
    assert {text.split()[-1].rstrip(".") for text in (first, page())} == {*releases}


def test_the_example_pair_has_a_web_machine_that_reaches_the_database(example: Project) -> None:
    ask = ("exec", "web", "--", "redis-cli", "-h", "db", "-p", "6380", "get", "greeting")
    assert example.must(*ask) == "hello from web\n"


def test_the_example_rootfs_runs_both_machines(example: Project) -> None:
    for machine in ("archive", "directory"):
        assert example.must("exec", machine, "--", "cat", "/about").startswith("a root file system of ")


@pytest.mark.parametrize("provider", ["chroot"])
def test_the_example_host_writes_to_its_copy_only(example: Project) -> None:
    assert example.must("exec", "--", "cat", "/etc/envup-example") == "written in the machine, not on the host\n"
    assert not Path("/etc/envup-example").exists()


@pytest.mark.parametrize("provider", sorted({*PROVIDERS} - {"chroot"}))
def test_the_example_host_is_refused_by_providers_whose_machines_do_not_get_this_system(
    provider: str, home: Path, tmp_path: Path
) -> None:
    project = copied("host", home, tmp_path)
    done = project.run("up", "--provider", provider)
    assert done.returncode == 2
    assert "use provider chroot" in done.stderr
    assert remains(project) == {}


MIXED = """\
name: mixed
defaults:
  image: debian/bookworm
  mounts: ["shared:/shared"]
  provision:
    - shell: hostname >> /shared/order
machines:
  light: {provider: chroot, ports: ["18471:18471"]}
  middle: {provider: lxc, ports: ["127.0.0.1:18472:80"], depends_on: {light: provisioned}}
  heavy: {provider: docker, ports: ["127.0.0.1:18473:80"], depends_on: {middle: provisioned}}
  whole: {provider: kvm, ports: ["127.0.0.1:18474:80"], depends_on: {heavy: provisioned}}
"""


def test_machines_of_all_providers_live_and_go_together(home: Path, tmp_path: Path) -> None:
    project = Project(tmp_path / "mixed", home)
    project.write(MIXED)
    (project.directory / "shared").mkdir()
    try:
        project.must("up")
        assert (project.directory / "shared/order").read_text() == "light\nmiddle\nheavy\nwhole\n"
        seen = project.machines()
        assert {name: one["provider"] for name, one in seen.items()} == {
            "light": "chroot",
            "middle": "lxc",
            "heavy": "docker",
            "whole": "kvm",
        }
        assert {one["state"] for one in seen.values()} == {"running"}
        assert {one["provisioned"] for one in seen.values()} == {True}
        assert [port["port"] for one in seen.values() for port in one["ports"]] == [18471, 18472, 18473, 18474]
        assert repeated(project) == []
        project.must("stop")
        assert {one["state"] for one in project.machines().values()} == {"stopped"}
        project.must("up")
    finally:
        done = project.run("destroy", "--yes")
    assert done.returncode == 0, done.stderr
    assert remains(project) == {}
    assert {one["state"] for one in project.machines().values()} == {"absent"}
