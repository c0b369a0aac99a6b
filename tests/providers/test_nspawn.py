"""The provider in examples/providers, installed as a stranger would install it: what it consists of, that it passes the
conformance kit, and its machines from the command line."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from example_plugins import check_short_and_on_contracts_alone, install
from real_machines import Project, make_small_archive, remains

from envup.testing import images

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

EXAMPLE = Path(__file__).parents[2] / "examples/providers/envup-nspawn"
CONTRACTS = ("provider", "image", "model", "events", "errors", "value", "hookspecs", "namespaces")
ENVFILE = """
defaults:
  image: {tarball: small.tar}
  provider: nspawn
  nspawn: {cap_add: [SYS_PTRACE]}
  environment: {ENVUP_HOME_OF_TEST: "@HOME@"}
machines:
  db:
    provision: [{shell: "echo made > /root/made"}]
  web:
    depends_on: {db: provisioned}
    resources: {memory: 64MiB, pids: 50}
    mounts: [{from: ., to: /workspace, read_only: true}]
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the distribution, built from a copy of its sources alone."""
    place = tmp_path_factory.mktemp("stranger")
    install(EXAMPLE, place)
    return place


@pytest.fixture
def project(installed: Path, tmp_path: Path) -> Iterator[Project]:
    """A project with two machines of the provider; destroyed and checked for remains at the end."""
    project = Project(tmp_path / "project", tmp_path / "home", {"PYTHONPATH": str(installed)})
    project.write(ENVFILE)
    make_small_archive(project.directory / "small.tar")
    yield project
    project.must("destroy", "--yes")
    assert remains(project) == {}


def test_it_is_short_and_imports_only_the_contracts() -> None:
    files = sorted(EXAMPLE.rglob("*.py"))
    assert len(files) > 1
    check_short_and_on_contracts_alone(files, CONTRACTS)


def test_it_passes_the_kit(installed: Path) -> None:
    kit = ["-m", "pytest", "-p", "no:cacheprovider", "--pyargs", "envup.testing", "--envup-provider", "nspawn"]
    environment = {**os.environ, "PYTHONPATH": str(installed), "ENVUP_TEST_IMAGE": str(images.built())}
    done = subprocess.run(
        [sys.executable, *kit],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-8000:]
    summary = done.stdout.partition("envup conformance: nspawn, root")[2]
    held = re.search(r"(\d+) behaviours held, (\d+) left out", summary)
    assert held, done.stdout[-2000:]
    assert int(held[1]) >= 120
    lacks = {re.sub(r":.*", "", reason) for reason in re.findall(r"^lacks (.+) \(\d+\)$", summary, re.MULTILINE)}
    abilities = {f"the ability {name}" for name in ("Dial", "MemoryLayers", "Resize", "Suspend")}
    assert lacks == {"ports", "resources.disk", "memory in snapshots", *abilities}


def test_its_machines_come_up_and_go_without_a_trace(project: Project) -> None:
    assert '"nspawn"' in project.must("plugins", "--json")
    assert "nspawn.cap_add: SYS_PTRACE" in project.run("up").stderr
    project.must("up", "--trust")
    machines = project.machines()
    assert {machine["provider"] for machine in machines.values()} == {"nspawn"}
    assert {machine["state"] for machine in machines.values()} == {"running"}
    assert project.must("exec", "db", "--", "cat", "/root/made") == "made\n"
    assert project.must("exec", "web", "--", "cat", "/workspace/Envfile") == (project.directory / "Envfile").read_text()
    assert "127.0.0.1\tdb" in project.must("exec", "web", "--", "cat", "/etc/hosts")
    assert project.run("exec", "db", "--", "sh", "-c", "exit 42").returncode == 42
    capabilities = project.must("exec", "web", "--", "grep", "CapEff", "/proc/self/status").split()[1]
    assert int(capabilities, 16) >> 19 & 1, "SYS_PTRACE was asked for"
    assert not int(capabilities, 16) >> 21 & 1, "SYS_ADMIN was not"


def test_a_killed_nspawn_takes_its_machine_along_and_the_next_up_goes_on(project: Project) -> None:
    project.must("up", "--trust")
    (record,) = project.home.glob("data/providers/nspawn/machines/*.db/run.json")
    run = json.loads(record.read_text())
    first = os.pidfd_open(run["pid"])
    os.kill(run["nspawn"], signal.SIGKILL)
    assert select.select([first], [], [], 30)[0]
    os.close(first)
    assert project.machines()["db"]["state"] == "stopped"
    project.must("up")
    assert project.must("exec", "db", "--", "cat", "/root/made") == "made\n"
