"""Layers that stand on many are merged, and machines begin with what all of them say."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator

import pytest
from forked import ForkedProject
from real_machines import make_small_archive, open_directory, remains

from envup.namespaces import layers

pytestmark = pytest.mark.slow

STEPS = (
    "mkdir -p /srv/full/deep /srv/file /srv/emptied; touch /srv/full/old /srv/full/deep/old /srv/emptied/old /srv/gone",
    "rm -r /srv/full; mkdir /srv/full; touch /srv/full/new; rm /srv/gone; rm -r /srv/file /opt; echo file > /srv/file",
    "rm /srv/emptied/old; rm /etc/serial; ln -s full /srv/link; chmod 4711 /srv/file; chown 12:34 /srv/full/new",
    "rm /srv/file /srv/link; mkdir /srv/file /srv/link; touch /srv/file/new; ln /srv/full/new /srv/full/second",
    "rm -r /srv/link; ln -s nowhere /srv/link; touch /srv/gone; rm -r /root; mkdir /root /opt; touch /etc/serial",
    "rm -r /srv/file; rm /srv/full/new; mkdir -p /srv/full/deep; touch /srv/full/deep/new; chmod 700 /srv/emptied",
)
LOOK = "cd /; find srv etc/serial root opt -exec stat -c '%n %F %a %u %g %s %N' {} +; ls -l srv/emptied"


@pytest.fixture
def project(provider: str) -> Iterator[ForkedProject]:
    """One without steps."""
    with open_directory() as directory:
        made = ForkedProject(directory / "project", directory / "home", {"DOCKER_HOST": "unix:///no/engine.sock"})
        with tarfile.open(make_small_archive(directory / "image.tar"), "a") as archive:
            archive.addfile(tarfile.TarInfo("opt/of-the-image"))
        yield made
        made.must("destroy", "--yes")
        made.must("prune")
        assert remains(made) == {}


def begin(project: ForkedProject, provider: str, count: int, *options: str) -> str:
    """A new machine with so many of the steps; what its files are."""
    declared = {
        "provider": provider,
        "image": {"tarball": str(project.directory.parent / "image.tar")},
        "mounts": [],
        "environment": {"MARK": str(project.home)},
        "provision": [{"shell": step} for step in STEPS[:count]],
    }
    project.write(json.dumps(declared))
    project.must("destroy", "--yes")
    project.must("up", *options)
    return "\n".join(sorted(project.must("exec", "--", "sh", "-c", LOOK).splitlines()))


@pytest.mark.parametrize("provider", ["chroot", "lxc"])
@pytest.mark.parametrize("deepest", [1, 2])
def test_a_machine_begins_with_what_all_merged_layers_say(
    project: ForkedProject, provider: str, deepest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "DEEPEST", deepest)
    for count in range(1, len(STEPS) + 1):
        begin(project, provider, count)
    kept = json.loads(project.must("images", "--json"))["layers"]
    parents = {layer["key"]: layer["parent"] for layer in kept}
    assert sum(not parent for parent in parents.values()) == len(STEPS) // deepest
    assert begin(project, provider, len(STEPS)) == begin(project, provider, len(STEPS), "--no-cache")
