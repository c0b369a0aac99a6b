"""No engine that can be used: whoever does not ask for Docker does not notice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from real_machines import Project, make_small_archive

ENVFILE = """\
provider: @PROVIDER@
image: {tarball: "@HOME@/small.tar"}
mounts: []
"""
BROKEN = {
    "missing": {"DOCKER_HOST": "unix:///no/engine.sock"},
    "refused": {"DOCKER_HOST": "tcp://127.0.0.1:1"},
    "misspelt": {"DOCKER_HOST": "nonsense"},
    "context": {"DOCKER_CONTEXT": "none-such"},
}


@pytest.fixture(params=BROKEN.values(), ids=BROKEN.keys())
def project(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A project on a host where no engine can be used."""
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    made = Project(tmp_path / "shop", tmp_path / "home", request.param)
    made.home.mkdir()
    make_small_archive(made.home / "small.tar")
    yield made


@pytest.mark.parametrize("provider", ["chroot", "auto"])
def test_other_machines_live_as_ever(project: Project, provider: str) -> None:
    project.write(ENVFILE.replace("@PROVIDER@", provider))
    project.must("plan")
    project.must("up")
    assert project.machines()["default"]["state"] == "running"
    assert project.must("exec", "--", "echo", "here") == "here\n"
    for verb in ("list", "images", "prune", "plugins", "ports"):
        project.must(verb)
    project.must("destroy", "--yes")


def test_a_refusal_is_told_with_the_providers_that_could(project: Project) -> None:
    project.write(f"{ENVFILE}resources: {{disk: 1KiB}}\n".replace("@PROVIDER@", "chroot"))
    done = project.run("up")
    assert (done.returncode, "cannot make it as declared" in done.stderr) == (2, True), done
    assert "engine" not in done.stderr


def test_who_wants_docker_is_told_why_not(project: Project) -> None:
    project.write(ENVFILE.replace("@PROVIDER@", "docker"))
    done = project.run("up")
    assert done.returncode == 1, done
    assert "Docker" in done.stderr
    assert "✗ engine" in project.run("doctor").stdout
