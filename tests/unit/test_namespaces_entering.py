"""Entering machines with a user namespace of their own, whose first process is nobody's in particular."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from namespaced import IDENTITY, Machine, machine

from envup import namespaces
from envup.events import Event
from envup.namespaces import cgroups, joining

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def inner() -> Iterator[Machine]:
    """A machine whose root is an ordinary user of the host."""
    with machine(variables={"COLOUR": "dark blue"}) as running:
        yield running


def _bits(machine: Machine, line: str, **fields: object) -> int:
    return int(machine.says(f"grep {line}: /proc/self/status", **fields).split()[1], 16)


def test_a_program_is_in_every_namespace_of_the_machine(inner: Machine) -> None:
    assert set(inner.way.namespaces) == set(namespaces.KINDS)
    kinds = " ".join(f"/proc/self/ns/{kind} /proc/1/ns/{kind}" for kind in namespaces.KINDS)
    links = inner.says(f"readlink {kinds}").split()
    assert links[::2] == links[1::2]
    assert inner.says("hostname; cat /proc/1/comm") == "inner\nsh\n"


def test_root_has_every_capability_there_and_none_here(inner: Machine) -> None:
    assert inner.says("id").strip() == "uid=0(root) gid=0(root) groups=0(root)"
    assert _bits(inner, "CapEff") == _bits(inner, "CapBnd") == inner_bounding_set(inner)
    assert "1000000" in inner.says("cat /proc/self/uid_map")
    assert inner.run("sh", "-c", "echo x > /proc/sys/kernel/panic").returncode != 0


def inner_bounding_set(inner: Machine) -> int:
    lines = Path(f"/proc/{inner.way.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("CapBnd")).split()[1], 16)


def test_a_program_keeps_no_more_capabilities_than_the_first_process() -> None:
    with machine(prefix="setpriv --bounding-set -sys_boot,-mknod") as limited:
        assert _bits(limited, "CapBnd") == _bits(limited, "CapEff") == inner_bounding_set(limited)
        assert not _bits(limited, "CapBnd") >> 22 & 1


def test_a_mask_limits_capabilities_further(inner: Machine) -> None:
    assert _bits(inner, "CapEff", way={"capabilities": 0b11}) == 0b11


def test_other_users_and_their_groups_are_the_machines(inner: Machine) -> None:
    assert inner.says("id -u; id -G", user="nobody:daemon") == "65534\n1\n"
    outside = inner.run("true", user="70000")
    assert outside.returncode == 126
    assert "cannot become user 70000" in outside.stderr


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_pipes_can_be_opened_by_name(inner: Machine, user: str) -> None:
    done = inner.run("sh", "-c", "echo out > /dev/stdout; echo err > /dev/stderr", user=user)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_variables_come_from_the_holder(inner: Machine) -> None:
    assert inner.says("echo $COLOUR") == "dark blue\n"
    assert inner.says("echo $COLOUR", environment={"COLOUR": "red"}) == "red\n"
    assert inner.says("echo [$COLOUR]", way={"holder": None}) == "[]\n"


@pytest.mark.parametrize("change", ["start", "holder_start"])
def test_a_number_that_another_process_has_now_is_not_the_machine(inner: Machine, change: str) -> None:
    done = inner.run("true", way={change: "1"})
    assert (done.returncode, done.stderr) == (125, "envup: the machine is not running\n")


def test_a_machine_that_has_ended_is_not_running() -> None:
    with machine() as ended:
        pass
    assert ended.run("true").stderr == "envup: the machine is not running\n"
    assert not namespaces.lives(ended.way.pid, ended.way.start)


def test_no_new_privileges_are_given_on_request(inner: Machine) -> None:
    script = "grep NoNewPrivs /proc/self/status"
    assert inner.says(script).split()[1] == "0"
    assert inner.says(script, way={"no_new_privileges": True}).split()[1] == "1"


def test_a_label_that_nothing_enforces_is_refused(inner: Machine) -> None:
    done = inner.run("echo", "unconfined", way={"label": "envup-no-such-label"})
    assert (done.returncode, done.stdout) == (125, "")
    assert "the label" in done.stderr


def _on_terminal(machine: Machine, script: str) -> tuple[int, str]:
    master, slave = pty.openpty()
    streams = {"stdin": slave, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    try:
        done = subprocess.run(
            **machine.command("sh", "-c", script, terminal=True), **streams, start_new_session=True, timeout=60
        )
    finally:
        os.close(master)
        os.close(slave)
    return done.returncode, done.stdout.decode()


def test_a_terminal_is_the_machines_own(inner: Machine) -> None:
    code, said = _on_terminal(inner, "tty; stat -c %U $(tty); echo typed > /dev/tty")
    assert (code, said.split()[:2]) == (0, ["/dev/pts/0", "root"])


def test_a_machine_without_terminals_says_so() -> None:
    with machine(mounts="mount -t proc proc /proc && mount -t tmpfs tmpfs /dev/pts") as bare:
        code, said = _on_terminal(bare, "true")
    assert code == 125
    assert "it has no terminals" in said


def test_files_are_sent_and_fetched_with_the_owners_of_the_machine(inner: Machine, tmp_path: Path) -> None:
    warnings: list[Event] = []
    with (tmp_path / "in.tar").open("w+b") as stream:
        with tarfile.open(fileobj=stream, mode="w") as archive:
            member = tarfile.TarInfo("note")
            member.size, member.uid, member.gid, member.mode = 2, 1000, 1001, 0o640
            archive.addfile(member, io.BytesIO(b"hi"))
        stream.seek(0)
        namespaces.send(inner.way, "/mnt", stream, machine="inner", emit=warnings.append)
    assert inner.says("stat -c %u:%g:%a /mnt/note; cat /mnt/note") == "1000:1001:640\nhi"
    with (tmp_path / "out.tar").open("w+b") as stream:
        namespaces.fetch(inner.way, "/mnt/note", stream, machine="inner", emit=warnings.append)
        stream.seek(0)
        with tarfile.open(fileobj=stream) as archive:
            found = archive.getmember("note")
            assert (found.uid, found.gid, found.mode) == (1000, 1001, 0o640)
    assert warnings == []


@contextlib.contextmanager
def _frozen_group() -> Iterator[Path]:
    """A control group that freezes what is put in it."""
    old = Path("/sys/fs/cgroup/freezer")
    group = (old if old.is_dir() else Path("/sys/fs/cgroup")) / f"envup-test-{os.urandom(4).hex()}"
    group.mkdir()
    state, frozen, thawed = (
        (group / "freezer.state", "FROZEN", "THAWED") if old.is_dir() else (group / "cgroup.freeze", "1", "0")
    )
    try:
        state.write_text(frozen)
        yield group
    finally:
        state.write_text(thawed)
        cgroups.remove([str(group)])


def _first_in(group: Path) -> int:
    deadline = time.monotonic() + 30
    while not (members := (group / "cgroup.procs").read_text().split()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return int(members[0])


@pytest.mark.parametrize("look", ["readlink -v fd/3", "ls root/", "readlink -v exe", "cat environ"])
def test_what_a_program_to_be_has_of_the_host_is_closed_to_the_machines_root(look: str) -> None:
    """Also where root is the same user on both sides, and so the child's equal."""
    with machine(IDENTITY) as running, _frozen_group() as group:
        command = running.command("true", way={"cgroups": (str(group),)})
        with subprocess.Popen(command.pop("args"), **command) as entering:
            child = _first_in(group)
            lines = Path(f"/proc/{child}/status").read_text().splitlines()
            inside = next(line for line in lines if line.startswith("NSpid")).split()[-1]
            looked = running.run("sh", "-c", f"cd /proc/{inside} && {look}")
            entering.kill()
    assert looked.stdout == ""
    assert "Permission denied" in looked.stderr


def test_a_program_to_be_leads_its_group_before_anything_can_hold_it_up(inner: Machine) -> None:
    with _frozen_group() as group:
        command = inner.command("true", way={"cgroups": (str(group),)})
        with subprocess.Popen(command.pop("args"), **command) as entering:
            child = _first_in(group)
            assert os.getsid(child) == child
            entering.kill()


@contextlib.contextmanager
def _inner_group() -> Iterator[Path]:
    """A control group of version 2 that shares a controller with groups below it, and so takes no processes."""
    mounts = cgroups.mounted()
    root = next((point for point, kind, _options in mounts if kind == "cgroup2"), None)
    controllers = (root / "cgroup.controllers").read_text().split() if root else []
    if root is None or not controllers:
        pytest.skip("control groups of version 2 have no controller here")
    control = root / "cgroup.subtree_control"
    before = control.read_text().split()
    group = root / f"envup-test-{os.urandom(4).hex()}"
    try:
        control.write_text(f"+{controllers[0]}")
        group.mkdir()
        (group / "cgroup.subtree_control").write_text(f"+{controllers[0]}")
        yield group
    finally:
        cgroups.remove([str(group)])
        if controllers[0] not in before:
            control.write_text(f"-{controllers[0]}")
        assert not group.exists()


def test_a_group_that_takes_no_processes_gets_one_that_does(inner: Machine) -> None:
    with _inner_group() as group:
        assert inner.run("true", way={"cgroups": (str(group),)}).returncode == 0
        joining_again = inner.says(
            "cat /proc/self/cgroup", way={"cgroups": (str(group),), "namespaces": ("mnt", "pid")}
        )
    assert f"/{group.name}/envup" in joining_again


def test_only_groups_that_share_controllers_need_another(tmp_path: Path) -> None:
    assert joining._leaf(str(tmp_path)) == str(tmp_path)
    (tmp_path / "cgroup.subtree_control").write_text("\n")
    assert joining._leaf(str(tmp_path)) == str(tmp_path)
    (tmp_path / "cgroup.subtree_control").write_text("memory pids\n")
    assert joining._leaf(str(tmp_path)) == joining._leaf(str(tmp_path)) == str(tmp_path / "envup")
