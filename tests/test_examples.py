"""Every example runs: up, its program, up once more with nothing to do, destroy, nothing left."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_machines import Project, remains

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(600)]

EXAMPLES = Path(__file__).parents[1] / "examples"
RUN_ALWAYS = {"web": ["default/provision:3"], "pair": ["db/provision:2"]}
"""Actions that a second `up` repeats, since their steps say `run: always`."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for all examples, so that their image is built once."""
    return tmp_path_factory.mktemp("examples-home")


@pytest.fixture
def example(request: pytest.FixtureRequest, home: Path, tmp_path: Path) -> Iterator[Project]:
    """A copy of the example that the test is named for, made up; destroyed and checked for remains at the end."""
    name = request.function.__name__.partition("example_")[2].partition("_")[0]
    project = Project(tmp_path / name, home)
    shutil.copytree(EXAMPLES / name, project.directory, ignore=shutil.ignore_patterns(".envup", "rootfs*"))
    if (EXAMPLES / name / "make-rootfs").exists():
        shutil.copy(EXAMPLES / name / "make-rootfs", project.directory)
        subprocess.run([project.directory / "make-rootfs"], check=True)
    try:
        project.must("validate")
        project.must("up")
        yield project
        assert repeated(project) == RUN_ALWAYS.get(name, [])
        project.must("up")
    finally:
        done = project.run("destroy", "--yes")
    assert done.returncode == 0, done.stderr
    assert remains(project) == {}


def repeated(project: Project) -> list[str]:
    """The steps that `up` would run again."""
    plan = json.loads(project.must("plan", "--json"))
    return [action["id"] for action in plan["actions"] if action["verb"] != "ready"]


def test_every_example_is_tested() -> None:
    names = {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
    tested = {
        name.partition("example_")[2].partition("_")[0] for name in globals() if name.startswith("test_the_example_")
    }
    assert tested == names


def test_the_example_hello_greets(example: Project) -> None:
    assert example.must("exec", "--", "cat", "/root/hello").startswith("Hello from Debian GNU/Linux 12")


def test_the_example_web_serves_the_mounted_page(example: Project) -> None:
    def page() -> str:
        with urllib.request.urlopen("http://127.0.0.1:8080/", timeout=10) as answer:
            return str(answer.read().decode())

    assert "Served by nginx" in page()
    file = example.directory / "pages/index.html"
    file.write_text(file.read_text().replace("Served", "Still served"))
    assert "Still served by nginx" in page()
    example.must("restart")
    assert "Still served by nginx" in page()


def test_the_example_pair_has_a_web_machine_that_reaches_the_database(example: Project) -> None:
    ask = ("exec", "web", "--", "redis-cli", "-h", "db", "-p", "6380", "get", "greeting")
    assert example.must(*ask) == "hello from web\n"


def test_the_example_rootfs_runs_both_machines(example: Project) -> None:
    for machine in ("archive", "directory"):
        assert example.must("exec", machine, "--", "cat", "/about").startswith("a root file system of ")


def test_the_example_host_writes_to_its_copy_only(example: Project) -> None:
    assert example.must("exec", "--", "cat", "/etc/envup-example") == "written in the machine, not on the host\n"
    assert not Path("/etc/envup-example").exists()
