"""An ordinary account to whom a control group of version 2 is delegated, as systemd does it for users: its LXC machines
run systemd and can be suspended; and one to whom none is."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import systemd_image
from ordinary import LIMIT, Account, Project

pytestmark = [pytest.mark.rootless, pytest.mark.timeout(280)]


ENVFILE = """\
provider: lxc
mounts: []
image: {{tarball: {archive}}}
lxc: {{network: none, init: {init}}}
"""


@pytest.fixture(scope="module")
def group(account: Account) -> Iterator[Path]:
    """A delegated group, with this process in it and so all that it starts."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    root = Path(next(fields[1] for fields in mounts if fields[2] == "cgroup2"))
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    before = root / next(line[3:] for line in lines if line.startswith("0::")).lstrip("/")
    group = root / f"envup-test-{os.getpid()}"
    group.mkdir()
    for name in (".", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
        os.chown(group / name, account.entry.pw_uid, account.entry.pw_gid)
    (group / "cgroup.procs").write_text(str(os.getpid()))
    yield group
    (before / "cgroup.procs").write_text(str(os.getpid()))
    group.rmdir()  # fails where anything is left in it


@pytest.fixture(scope="module")
def project(account: Account, group: Path) -> Iterator[Project]:
    """A project whose machine, of an image with systemd, is up."""
    project = account.project("delegated", ENVFILE.format(archive=systemd_image.archive(), init="image"))
    project.must("up")
    yield project
    project.must("destroy", "--yes")


def state(project: Project) -> str:
    (machine,) = json.loads(project.must("status", "--json"))["machines"]
    return str(machine["state"])


def test_without_a_group_a_small_init_stands_in_for_systemd_and_that_is_told(account: Account) -> None:
    project = account.project("undelegated", ENVFILE.format(archive=systemd_image.archive(), init="auto"))
    try:
        up = project.run("up")
        assert (up.returncode, "systemd needs control groups" in up.stderr) == (0, True), up.stderr
        assert project.must("exec", "--", "cat", "/proc/1/comm").strip() == "init"
    finally:
        project.must("destroy", "--yes")


def test_without_a_group_systemd_is_refused_where_it_is_insisted_on(account: Account) -> None:
    project = account.project("insisting", ENVFILE.format(archive=systemd_image.archive(), init="image"))
    refused = project.run("up")
    project.must("destroy", "--yes")
    assert refused.returncode == 1
    assert "systemd needs control groups of its own" in refused.stdout + refused.stderr


def test_systemd_runs_in_groups_of_its_own(project: Project, group: Path) -> None:
    assert project.must("exec", "--", "systemctl", "is-system-running").strip() == "running"
    assert list(group.glob("envup/lxc-*/lxc/init.scope"))


def test_the_machine_is_suspended_and_resumed(project: Project) -> None:
    project.must("suspend")
    assert state(project) == "suspended"
    project.must("resume")
    assert state(project) == "running"


def test_a_machine_that_restarts_itself_stays_in_its_group(project: Project, group: Path) -> None:
    project.must("exec", "--", "sh", "-c", "touch /run/before; systemctl reboot")
    script = "! test -e /run/before && systemctl is-system-running --wait"
    deadline = time.monotonic() + LIMIT
    while project.run("exec", "--", "sh", "-c", script).returncode:
        assert time.monotonic() < deadline
    assert list(group.glob("envup/lxc-*/lxc/init.scope"))


def test_stop_is_in_order_and_leaves_no_group(project: Project, group: Path) -> None:
    project.must("stop")
    assert state(project) == "stopped"
    assert not (group / "envup").exists()
    project.must("up")
