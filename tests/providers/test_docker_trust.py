"""What needs consent, carried out for real: a Dockerfile is built, a device of the host given, a directory beside the
project mounted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from real_machines import Project, make_small_archive, remains

pytestmark = [pytest.mark.slow]

ENVFILE = """\
provider: docker
image: {dockerfile: Dockerfile, context: .}
mounts: ["../shared:/shared"]
docker: {devices: ["/dev/null:/dev/nothing"]}
environment: {MARK: "@HOME@"}
"""
DOCKERFILE = "FROM scratch\nADD small.tar /\n"


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A project that was never agreed to."""
    made = Project(tmp_path / "shop", tmp_path / "home")
    made.write(ENVFILE)
    make_small_archive(made.directory / "small.tar")
    (made.directory / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "shared").mkdir()
    yield made
    made.must("destroy", "--yes")
    assert remains(made) == {}


def forget(images: list[str]) -> None:
    """Remove what was built from the engine, the last first: it may begin with another."""
    client = docker.from_env()
    for image in reversed(images):
        client.api.remove_image(image, force=True)
    client.close()


def image_of(project: Project) -> str:
    return str(project.machines()["default"]["image"])


def test_nothing_is_built_nor_made_without_consent_and_all_of_it_with(project: Project) -> None:
    refused = project.run("up")
    assert refused.returncode == 2
    for told in ("builds ", "docker.devices: /dev/null:/dev/nothing", "mounts "):
        assert f"default: {told}" in refused.stderr
    assert project.machines()["default"]["state"] == "absent"
    built: list[str] = []
    try:
        project.must("up", "--trust")
        built.append(image_of(project))
        project.must("exec", "--", "sh", "-c", "echo here > /shared/file; test -c /dev/nothing")
        assert (project.directory.parent / "shared/file").read_text() == "here\n"
        project.must("restart")
        (project.directory / "Dockerfile").write_text(f"{DOCKERFILE}ENV CHANGED=yes\n")
        refused = project.run("up", "--recreate")
        assert (refused.returncode, refused.stderr.count("default: ")) == (2, 1), refused
        assert image_of(project) == built[0]
        project.must("up", "--recreate", "--trust")
        built.append(image_of(project))
        assert built[0] != built[1]
        assert project.must("exec", "--", "sh", "-c", "echo $CHANGED") == "yes\n"
    finally:
        project.must("destroy", "--yes")
        forget(built)
