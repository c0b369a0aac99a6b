"""What only the LXC provider has: its small init, ids and capabilities, disks, the end of its keeper, copies."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from envup.namespaces import subids
from envup.provider import Instance, Resources
from envup.testing import traces
from envup.testing.subject import ENVIRONMENT, Subject

PROVIDER = "lxc"
MIB = 1 << 20
IS_ROOT = os.geteuid() == 0

pytestmark = pytest.mark.usefixtures("check_no_leak")


def directory_of(subject: Subject, name: str) -> Path:
    return subject.base / "data/machines" / f"{ENVIRONMENT}.{name}"


def record_of(subject: Subject, name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((directory_of(subject, name) / "run.json").read_text())
    return record


def test_the_small_init_reaps_what_is_left_to_it(subject: Subject) -> None:
    with subject.running(subject.spec("small")) as instance:
        assert subject.shell(instance, "cat /proc/1/comm") == "init"
        subject.shell(instance, "for i in 1 2 3; do (sh -c 'exec sleep 0.05' &); done; sleep 0.3")
        states = subject.shell(instance, "sed 's/.*) //' /proc/[0-9]*/stat | cut -c1")
        assert "Z" not in states


def test_the_first_process_gives_nothing_away(subject: Subject) -> None:
    with subject.running(subject.spec("closed")) as instance:
        assert set(subject.shell(instance, "ls /proc/1/fd").split()) == {"0", "1", "2"}
        assert str(subject.base) not in subject.shell(instance, "cat /proc/1/environ /proc/1/cmdline | tr '\\0' ' '")
        assert str(subject.base) not in subject.shell(instance, "readlink /proc/1/exe /proc/1/fd/* || true")


def test_root_of_a_machine_is_nobody_of_the_host_and_owns_its_files(subject: Subject) -> None:
    """The image is shown with the machine's ids, not copied for them."""
    with subject.running(subject.spec("mapped")) as instance:
        subject.shell(instance, "echo x > /srv/roots; install -o daemon -m 600 /srv/roots /srv/daemons")
        pid = record_of(subject, "mapped")["pid"]
        inside, outside, _count = (int(field) for field in Path(f"/proc/{pid}/uid_map").read_text().split()[:3])
        assert inside == 0
        first = subids.shifted()[0].split(":")[1]
        assert outside == (int(first) if IS_ROOT else os.geteuid())
        assert Path(f"/proc/{pid}").stat().st_uid == (int(first) if IS_ROOT else os.geteuid())
        layer = directory_of(subject, "mapped") / "upper/srv"
        assert (layer / "roots").stat().st_uid == os.geteuid()
        used = subprocess.run(
            ["du", "-sk", directory_of(subject, "mapped")], capture_output=True, text=True, check=False
        )
        assert int(used.stdout.split()[0]) < 1024


def test_dropped_capabilities_are_gone_for_every_program(subject: Subject) -> None:
    mask = 1 << 13  # CAP_NET_RAW, capability.h
    clock = 1 << 25
    bound = "awk '/^CapBnd/ { print $2 }' /proc/1/status /proc/self/status"
    with (
        subject.running(subject.spec("all")) as everything,
        subject.running(subject.spec("few", options={"cap_drop": ["NET_RAW"]})) as few,
    ):
        for instance, kept in ((everything, mask), (few, 0)):
            for line in subject.shell(instance, bound).splitlines():
                assert int(line, 16) & mask == kept
                assert not int(line, 16) & clock


def test_a_disk_limit_is_kept_grown_and_refused_to_ordinary_users(subject: Subject) -> None:
    spec = subject.spec("disk", resources=Resources(disk=64 * MIB))
    if not IS_ROOT:
        (reason,) = subject.provider.check(spec)
        assert reason.startswith("resources.disk:")
        return
    with subject.running(spec) as instance:
        assert b"space" in subject.run(instance, "sh", "-c", "head -c 90000000 /dev/zero > /srv/a").stderr
        subject.shell(instance, "rm /srv/a; echo kept > /srv/note")
        subject.provider.stop(instance, grace=1)
        instance = subject.provider.start(instance, subject.spec("disk", resources=Resources(disk=256 * MIB)))
        assert subject.shell(instance, "head -c 90000000 /dev/zero > /srv/a; cat /srv/note") == "kept"


def test_machines_whose_keeper_was_killed_are_stopped_and_start_again(subject: Subject) -> None:
    specs = [subject.spec(name, peers=("one", "two")) for name in ("one", "two")]
    with subject.running(specs[0]) as one, subject.running(specs[1]) as two:
        keeper = record_of(subject, "one")["keeper"]
        assert record_of(subject, "two")["keeper"] == keeper
        os.kill(keeper, signal.SIGKILL)
        for name in ("one", "two"):
            subject.await_state("stopped", name)
        for instance, spec in ((one, specs[0]), (two, specs[1])):
            again = subject.provider.start(instance, spec)
            assert again.id == instance.id
            assert subject.run(again, "true").returncode == 0
        assert record_of(subject, "one")["keeper"] != keeper


def test_a_machine_whose_monitor_was_killed_is_stopped_and_leaves_no_group(subject: Subject) -> None:
    spec = subject.spec("orphan", resources=Resources(pids=100) if IS_ROOT else Resources())
    with subject.running(spec) as instance:
        os.kill(record_of(subject, "orphan")["monitor"], signal.SIGKILL)
        subject.await_state("stopped", "orphan")
        assert subject.run(subject.provider.start(instance, spec), "true").returncode == 0


def test_devices_are_those_of_any_container_and_no_more(subject: Subject, machine: Instance) -> None:
    names = subject.shell(machine, "ls /dev").split()
    assert set(names) >= {"null", "zero", "full", "random", "urandom", "tty", "console", "pts", "ptmx", "shm", "fd"}
    assert not [name for name in names if name.startswith(("loop", "sd", "vd", "mem", "kmsg"))]
    assert subject.run(machine, "mknod", "/srv/null", "c", "1", "3").returncode != 0


def test_twenty_machines_are_observed_at_once(subject: Subject) -> None:
    made = [subject.create(subject.spec(f"m{number}"), environment=f"{ENVIRONMENT}h") for number in range(20)]
    try:
        with subject.running(subject.spec("lively"), environment=f"{ENVIRONMENT}h"):
            states = [one.state for one in subject.observed(f"{ENVIRONMENT}h")]
        assert sorted(states) == ["created"] * 20 + ["running"]
    finally:
        for instance in made:
            subject.provider.destroy(instance)


@pytest.fixture
def unlayered(tmp_path: Path) -> Iterator[Path]:
    """A directory in which no overlay can be mounted, as it lies on one."""
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    layers = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, tmp_path / "merged"], check=True)
    yield tmp_path / "merged"
    subprocess.run(["umount", tmp_path / "merged"], check=True)


@pytest.mark.root
@pytest.mark.timeout(280)
@pytest.mark.parametrize("kind", ["lxc", "chroot"])
def test_a_machine_is_a_copy_of_its_image_where_no_overlay_can_be_had(
    subjects: Any, kind: str, unlayered: Path
) -> None:
    usual = subjects(kind)
    for path in (unlayered.parent.parent, unlayered.parent, unlayered):
        path.chmod(0o711)
    subject = Subject(type(usual.provider), unlayered, usual.image, {})
    (check,) = [check for check in subject.provider.doctor() if "copy of its image" in check.message]
    assert check.ok
    spec = subject.spec("copied")
    with subject.running(spec) as instance:
        root = directory_of(subject, "copied") / "root"
        assert root.stat().st_uid == (int(subids.shifted()[0].split(":")[1]) if kind == "lxc" else 0)
        assert stat.S_IMODE(root.stat().st_mode) == 0o755
        assert subject.shell(instance, "echo kept > /etc/note; stat -c %u /bin/sh /etc/note") == "0\n0"
        subject.provider.stop(instance, grace=1)
        assert subject.shell(subject.provider.start(instance, spec), "cat /etc/note") == "kept"
    assert traces.processes_with(str(unlayered)) == []
