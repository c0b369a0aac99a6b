"""What of containers is in no layer: their volumes, and their secrets."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest
from real_machines import Project, make_small_archive, open_directory, remains

from envup_docker import committing

pytestmark = [pytest.mark.root, pytest.mark.slow]

ENVFILE = """\
name: layers
provider: docker
image: {dockerfile: Dockerfile}
mounts: []
environment: {MARK: "@HOME@"}
provision: [{name: "@HOME@", shell: "mkdir -p /data; cat /proc/sys/kernel/random/uuid > /data/made"}]
"""


@pytest.fixture
def project() -> Iterator[Project]:
    """One whose machine and layers are gone at the end."""
    with open_directory() as directory:
        made = Project(directory / "project", directory / "home", {"TOKEN": "hunter2-secret"})
        made.write(ENVFILE)
        make_small_archive(made.directory / "small.tar")
        (made.directory / "Dockerfile").write_text("FROM scratch\nADD small.tar /\n")
        yield made
        made.must("destroy", "--yes")
        made.must("prune")
        assert remains(made) == {}


def kept(project: Project) -> list[str]:
    """The engine's names of this project's layers; others may keep some meanwhile."""
    layers = json.loads(project.must("images", "--json"))["layers"]
    return [f"envup/layer:{layer['key']}" for layer in layers if layer["step"] == str(project.home)]


def up_twice(project: Project) -> None:
    """The second machine has what the step wrote, or the step has run again."""
    for _time in range(2):
        project.must("up", "--trust", "--yes")
        assert project.must("exec", "--", "cat", "/data/made").strip()
        project.must("destroy", "--yes")


def test_no_layer_is_kept_of_an_image_with_a_volume(project: Project) -> None:
    with (project.directory / "Dockerfile").open("a") as file:
        file.write("VOLUME /data\n")
    up_twice(project)
    assert kept(project) == []


def test_no_layer_is_kept_of_a_machine_with_a_named_volume(project: Project) -> None:
    name = f"envup-test-{project.directory.parent.name.lower()}"
    project.write(f"{ENVFILE}docker: {{volumes: {{{name}: /data}}}}\n")
    try:
        project.must("up", "--trust", "--yes")
        project.must("destroy", "--yes")
    finally:
        subprocess.run(["docker", "volume", "rm", "--force", name], check=True, capture_output=True)
    up_twice(project)
    assert kept(project) == []
    subprocess.run(["docker", "volume", "rm", name], check=True, capture_output=True)


@pytest.mark.parametrize("secret", ["variable", "label"])
def test_a_layer_does_not_tell_secrets(project: Project, secret: str) -> None:
    text = ENVFILE.replace("environment: {", 'environment: {TOKEN: "${TOKEN}", ') if secret == "variable" else ENVFILE
    label = 'docker: {labels: {token: "${TOKEN}"}}\n' if secret == "label" else ""
    project.write(text + label)
    up_twice(project)
    engine = json.loads(
        subprocess.run(["docker", "info", "--format", "{{json .}}"], check=True, capture_output=True).stdout
    )
    assert bool(kept(project)) is not committing.leaves_secrets(engine)
    said = subprocess.run(["docker", "image", "inspect", *kept(project)], capture_output=True, text=True, check=False)
    assert "hunter2-secret" not in said.stdout


def test_the_program_of_a_machine_is_in_no_layer(project: Project) -> None:
    project.write(f"{ENVFILE}docker: {{command: [/bin/sh, -c, 'while :; do sleep 1000; done', of-this-machine]}}\n")
    up_twice(project)
    (layer,) = kept(project)
    config = json.loads(subprocess.run(["docker", "image", "inspect", layer], check=True, capture_output=True).stdout)
    assert "of-this-machine" not in json.dumps(config[0]["Config"])


def test_secrets_stay_out_of_images_in_the_store_of_containerd() -> None:
    assert not committing.leaves_secrets({"DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]})
    assert committing.leaves_secrets({"DriverStatus": [["Backing Filesystem", "extfs"]]})
    assert committing.leaves_secrets({"DriverStatus": None})
