"""Machines of one environment whose snapshots are taken together agree, and go on whatever becomes of the command."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest
from real_machines import ENVUP, Project, open_directory, remains

from envup import apply
from envup.cli import main
from envup.testing import images

pytestmark = [pytest.mark.root, pytest.mark.slow]

ENVFILE = """\
name: together
defaults:
  image: {tarball: "@ARCHIVE@"}
  mounts: [./shared:/shared]
  environment: {MARK: "@HOME@"}
  provision: [shell: head -c 40000000 /dev/urandom > /srv/large]
machines: {ping: {}, pong: {}}
"""
ROUND = """\
sub say { open F, ">", "$_[0].new"; print F $n; close F; rename "$_[0].new", $_[0] }
sub heard { open F, "<", $_[0] or return ""; my $said = <F>; close F; return $said }
sub hear { select undef, undef, undef, 0.001 until heard($_[0]) eq $n }
while (1) { $n++; @ROUND@ }
"""
ROUNDS = {
    "ping": "say '/srv/round'; say '/shared/ping'; hear '/shared/pong'",
    "pong": "hear '/shared/ping'; say '/srv/round'; say '/shared/pong'",
}
"""Neither gets further than one round ahead of what it has heard of the other."""


@pytest.fixture
def project() -> Iterator[Project]:
    with open_directory() as directory:
        made = Project(directory / "project", directory / "home")
        (made.directory / "shared").mkdir(parents=True)
        made.write(ENVFILE.replace("@ARCHIVE@", str(images.built())))
        yield made
        made.must("destroy", "--yes")
        assert remains(made) == {}


def begin(project: Project, provider: str) -> None:
    project.must("up", "--provider", provider)
    for name, text in ROUNDS.items():
        (project.directory / "shared" / f"{name}.pl").write_text(ROUND.replace("@ROUND@", text))
    for name in ROUNDS:
        line = f"setsid -f perl /shared/{name}.pl >/dev/null 2>&1 </dev/null; until [ -s /srv/round ]; do :; done"
        project.must("exec", name, "--", "sh", "-c", line)


def reached(project: Project, machine: str) -> int:
    return int(project.must("exec", machine, "--", "cat", "/srv/round"))


def goes_on(project: Project) -> None:
    """Wait until both have gone on: neither can alone."""
    deadline = time.monotonic() + 30
    before = reached(project, "pong")
    while reached(project, "pong") <= before + 2:
        assert time.monotonic() < deadline, "the machines do not go on"


@pytest.mark.parametrize("provider", ["chroot", "lxc", "docker"])
def test_machines_agree_with_each_other(project: Project, provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is taken after the other here, as they are where there are many."""
    begin(project, provider)
    monkeypatch.setattr(apply, "_WORKERS", 1)
    monkeypatch.chdir(project.directory)
    monkeypatch.setenv("ENVUP_HOME", str(project.home))
    assert main.run(["snapshot", "create", "both"], program="envup") == 0
    goes_on(project)
    project.must("snapshot", "restore", "both", "--yes")
    rounds = [reached(project, name) for name in ROUNDS]
    assert abs(rounds[0] - rounds[1]) <= 1, rounds
    assert min(rounds) > 0


@pytest.mark.parametrize("provider", ["chroot", "docker"])
def test_a_killed_command_leaves_no_machine_standing_still(project: Project, provider: str) -> None:
    begin(project, provider)
    for number, delay in enumerate((0.15, 0.25, 0.35)):
        command = [str(ENVUP), "snapshot", "create", f"killed-{number}"]
        null = subprocess.DEVNULL
        with subprocess.Popen(
            command, cwd=project.directory, env=project.environment, stdout=null, stderr=null
        ) as taking:
            try:
                taking.wait(delay)
            except subprocess.TimeoutExpired:
                os.kill(taking.pid, signal.SIGKILL)
        if provider == "docker":
            project.must("resume", "--wait", "30")
        goes_on(project)
