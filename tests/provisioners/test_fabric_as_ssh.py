"""Fabric's documented examples come out the same in machines of every provider as over SSH."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ssh_server
from fabric_cases import CASES
from real_machines import Project, open_directory, remains

from envup.testing import images

pytestmark = [pytest.mark.root, pytest.mark.slow]

PROVIDERS = ("chroot", "lxc", "docker", "kvm")
FABFILE = Path(__file__).with_name("fabric_cases.py")
WITHOUT_SIGNALS = ("docker",)
"""Where the way in tells the end by signal n as 128 + n."""
MARK = f"envup-fabric-{os.getpid()}"
ENVFILE = """\
name: fabric
image: {tarball: "@ARCHIVE@"}
mounts: []
environment: {HOMEMARK: "@HOME@"}
provision:
  - fabric: {file: fabric_cases.py, task: record}
    environment: {RECORD: "@RECORD@", MARK: "@MARK@"}
"""


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    with open_directory() as directory:
        (directory / "project").mkdir()
        (directory / "project" / FABFILE.name).write_text(FABFILE.read_text())
        yield directory


@pytest.fixture(scope="module")
def over_ssh(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the cases say over SSH, to this host."""
    place = tmp_path_factory.mktemp("ssh")
    record = place / "record.json"
    with ssh_server.serving(place) as port:
        fab = [
            sys.executable,
            "-m",
            "fabric",
            "-c",
            FABFILE.stem,
            "-H",
            f"root@127.0.0.1:{port}",
            "-i",
            str(place / "user"),
        ]
        terminal, theirs = os.openpty()  # Fabric waits for ever for other input that does not end
        done = subprocess.run(
            ["setsid", "--ctty", "--wait", *fab, "record"],
            cwd=directory / "project",
            env={**os.environ, "RECORD": str(record), "MARK": MARK},
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        os.close(terminal)
        os.close(theirs)
    assert done.returncode == 0, done.stdout
    return dict(json.loads(record.read_text()))


@pytest.fixture(scope="module")
def in_machines(directory: Path) -> Iterator[dict[str, dict[str, Any]]]:
    """What they say in machines, by provider, as far as it was asked for."""
    told: dict[str, dict[str, Any]] = {}
    yield told


def recorded(directory: Path, provider: str) -> dict[str, Any]:
    record = directory / f"{provider}.json"
    project = Project(directory / "project", directory / "home")
    text = ENVFILE.replace("@ARCHIVE@", str(images.built())).replace("@RECORD@", str(record)).replace("@MARK@", MARK)
    project.write(text)
    try:
        project.must("up", "--trust", "--provider", provider)
    finally:
        project.must("destroy", "--yes")
    assert remains(project) == {}
    return dict(json.loads(record.read_text()))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_it_is_as_over_ssh(
    provider: str, case: str, directory: Path, over_ssh: dict[str, Any], in_machines: dict[str, dict[str, Any]]
) -> None:
    if provider not in in_machines:
        in_machines[provider] = {}
        in_machines[provider] = recorded(directory, provider)
    told = in_machines[provider][case]
    if case == "killed" and provider in WITHOUT_SIGNALS:
        assert (told["exited"], over_ssh[case]["exited"]) == (137, -1)
    else:
        assert told == over_ssh[case]
