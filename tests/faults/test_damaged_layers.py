"""Layers that are damaged, cut short or cannot be written: told, never used, made again."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_help import NAMESPACED
from real_machines import Project

pytestmark = [pytest.mark.root, pytest.mark.slow]

ENVFILE = """\
provider: @PROVIDER@
image: {tarball: "@ARCHIVE@"}
mounts: []
environment: {MARK: "@HOME@"}
provision:
  - {name: first, shell: mkdir -p /srv && echo first > /srv/first}
  - {name: second, shell: echo second > /srv/second}
"""


Make = Callable[..., Project]


@pytest.fixture
def make(make_project: Make, provider: str) -> Make:
    """Makes projects that know of no Docker engine, in which `prune` would free what others have there."""

    def made(envfile: str = ENVFILE, **options: Any) -> Project:
        project = make_project(envfile.replace("@PROVIDER@", provider), **options)
        project.environment["DOCKER_HOST"] = "unix:///no/engine.sock"
        return project

    return made


@pytest.fixture
def project(make: Make) -> Project:
    """One that has left both layers, and has no machine."""
    made = make()
    made.must("up")
    made.must("destroy", "--yes")
    assert sorted(kept(made)) == ["first", "second"]
    return made


def kept(project: Project) -> dict[str, str]:
    """Keys of the layers by their steps."""
    return {layer["step"]: layer["key"] for layer in json.loads(project.must("images", "--json"))["layers"]}


def place(project: Project, provider: str) -> Path:
    return project.home / f"data/providers/{provider}/layers"


def ran(project: Project) -> list[str]:
    """The steps that `up` runs; what it leaves must be right."""
    plan = json.loads(project.must("plan", "--json"))
    project.must("up", "--yes")
    assert project.must("exec", "--", "cat", "/srv/first", "/srv/second") == "first\nsecond\n"
    return [action["detail"] for action in plan["actions"] if action["verb"] == "provision"]


def lose_facts(layer: Path) -> None:
    (layer / "layer.json").unlink()


def cut_facts_short(layer: Path) -> None:
    text = (layer / "layer.json").read_text()
    (layer / "layer.json").write_text(text[: len(text) // 2])


def change_facts(layer: Path) -> None:
    (layer / "layer.json").write_text('{"below": []}')


def lose_files(layer: Path) -> None:
    shutil.rmtree(layer / "tree")


def lose_power(layer: Path) -> None:
    """As after a crash before all was on the disk."""
    facts = json.loads((layer / "layer.json").read_text())
    (layer / "layer.json").write_text(json.dumps({**facts, "boot": "an earlier one"}))
    (layer / "synced").unlink(missing_ok=True)


HARM = pytest.mark.parametrize("harm", [lose_facts, cut_facts_short, change_facts, lose_files, lose_power])


@HARM
def test_a_damaged_layer_is_made_again(project: Project, provider: str, harm: Callable[[Path], None]) -> None:
    keys = kept(project)
    harm(place(project, provider) / keys["second"])
    assert kept(project) == {"first": keys["first"]}
    done = project.run("up", "--yes")
    assert f"the layer {keys['second']} was damaged, and has been made again" in done.stdout + done.stderr
    project.must("destroy", "--yes")
    assert kept(project) == keys
    assert ran(project) == []
    assert list(place(project, provider).glob(".*.*")) == []


@pytest.mark.parametrize("harm", [lose_facts, lose_power])
def test_prune_frees_a_damaged_layer(project: Project, provider: str, harm: Callable[[Path], None]) -> None:
    harm(place(project, provider) / kept(project)["second"])
    project.must("prune")
    assert [path.name for path in place(project, provider).iterdir()] == [".lock"]


@NAMESPACED
def test_a_layer_above_a_damaged_one_is_not_used(make: Make, provider: str) -> None:
    project = make()
    second = next(line for line in ENVFILE.splitlines(keepends=True) if "second" in line)
    whole = (project.directory / "Envfile").read_text()
    project.write(whole.replace(second, ""))
    project.must("up")
    project.must("destroy", "--yes")
    project.write(whole)
    assert ran(project) == ["second"]
    lose_facts(place(project, provider) / kept(project)["first"])
    assert kept(project) == {}
    project.must("destroy", "--yes")
    assert ran(project) == ["first", "second"]
    assert sorted(kept(project)) == ["first", "second"]


@NAMESPACED
def test_a_layer_that_a_machine_stands_on_is_not_replaced(make: Make, project: Project, provider: str) -> None:
    project.must("up")
    key = kept(project)["second"]
    cut_facts_short(place(project, provider) / key)
    other = make(name="other", home=project.home)
    done = other.run("up", "--yes")
    assert done.returncode == 0, done
    assert f"the layer {key} is damaged, and machine 'default' stands on it" in done.stdout + done.stderr
    project.must("prune")
    assert project.must("exec", "--", "cat", "/srv/second") == "second\n"
    other.must("destroy", "--yes")
    project.must("destroy", "--yes")
    assert ran(project) == ["second"]


@NAMESPACED
def test_layers_that_cannot_be_written_are_told_and_can_be_done_without(project: Project, provider: str) -> None:
    layers = place(project, provider)
    subprocess.run(["mount", "--bind", "-o", "ro", str(layers), str(layers)], check=True)
    try:
        project.must("images")
        done = project.run("up", "--yes")
        assert (done.returncode, "Read-only file system" in done.stdout + done.stderr) == (1, True), done
        project.write((project.directory / "Envfile").read_text().replace("echo second", "true; echo second"))
        done = project.run("up", "--yes", "--no-cache")
        assert done.returncode == 0, done
        assert (
            "the layers of step 'first' and of those behind it stay as they were: cannot remove"
            in done.stdout + done.stderr
        )
        assert project.must("exec", "--", "cat", "/srv/second") == "second\n"
        project.must("destroy", "--yes")
    finally:
        subprocess.run(["umount", str(layers)], check=True)
    assert ran(project) == ["second"]


@NAMESPACED
def test_homes_do_not_share_what_they_keep(make: Make, project: Project, provider: str) -> None:
    other = make(name="other")
    assert kept(other) == {}
    assert ran(other) == ["first", "second"]
    other.must("destroy", "--yes")
    other.must("prune")
    assert kept(other) == {}
    assert ran(project) == []


@pytest.fixture
def small_home(tmp_path: Path) -> Iterator[Path]:
    """A home on a file system of its own that is soon full."""
    home = tmp_path / "small"
    home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m,mode=711", "small", str(home)], check=True)
    yield home
    subprocess.run(["umount", "--lazy", str(home)], check=True)


@NAMESPACED
def test_a_layer_for_which_there_is_no_room_is_told_and_not_kept(small_home: Path, make: Make, provider: str) -> None:
    envfile = ENVFILE.replace("echo first >", "head -c 20000000 /dev/zero > /srv/zeros; echo first >")
    project = make(envfile, home=small_home)
    done = project.run("up", "--yes")
    assert done.returncode == 0, done
    assert "what step 'first' left is not kept" in done.stdout + done.stderr
    assert "No space left on device" in done.stdout + done.stderr
    assert kept(project) == {}
    assert [path.name for path in place(project, provider).iterdir()] == [".lock"]
    assert project.must("exec", "--", "cat", "/srv/first", "/srv/second") == "first\nsecond\n"
    project.must("destroy", "--yes")
