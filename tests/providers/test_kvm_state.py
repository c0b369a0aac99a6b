"""What the KVM provider keeps and changes of a machine's state: snapshots, its clock, the size of its disk."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from envup.errors import EnvupError
from envup.provider import Instance, Resize, Resources
from envup.testing.subject import ENVIRONMENT, Subject

PROVIDER = "kvm"
pytestmark = [pytest.mark.root, pytest.mark.slow]
MIB = 1 << 20
DISK = 200 * MIB


def virsh(*arguments: str) -> None:
    subprocess.run(["virsh", "--quiet", "--connect", "qemu:///system", *arguments], check=True, timeout=60)


@pytest.fixture(scope="module")
def machine(subject: Subject) -> Iterator[Instance]:
    """One that the cases share."""
    with subject.running(subject.spec("state", resources=Resources(disk=DISK))) as instance:
        yield instance


def size(subject: Subject, machine: Instance) -> int:
    return int(subject.shell(machine, "stat -f -c %b /")) * 4096


def record(subject: Subject, name: str) -> Path:
    return subject.base / f"data/machines/{ENVIRONMENT}.state/snapshots/{name}.json"


def test_a_domain_that_was_killed_and_undefined_goes_on_from_its_memory(subject: Subject, machine: Instance) -> None:
    subject.shell(machine, "echo before > /dev/shm/note; echo before > /srv/note")
    taken = subject.provider.take_snapshot(machine, "kept")
    assert taken.memory
    subject.shell(machine, "echo after | tee /dev/shm/note /srv/note; sync")
    virsh("destroy", f"envup-{ENVIRONMENT}-state")
    virsh("undefine", f"envup-{ENVIRONMENT}-state")
    assert [one.name for one in subject.provider.snapshots(machine)] == ["kept"]
    subject.provider.restore_snapshot(machine, "kept")
    assert subject.shell(machine, "cat /dev/shm/note /srv/note") == "before\nbefore"
    log = subject.shell(machine, "grep -c . /proc/mounts; dmesg | grep -i 'ext4-fs error' || true")
    assert "error" not in log.lower()


def test_what_a_restored_machine_was_told_is_on_no_disk_but_before_it_when_it_restarts(
    subject: Subject, machine: Instance
) -> None:
    before = subject.shell(machine, "cat /run/envup/kit/facts/machine.json")
    subject.provider.restore_snapshot(machine, "kept")
    place = next(path for path in (subject.base / "runtime").iterdir() if (path / "port").exists())
    assert not (place / "facts.tar").exists()
    drop = "echo 1 > /proc/sys/vm/drop_caches"
    disk = "$(grep -lx envup-facts /sys/block/*/serial | cut -d/ -f4)"
    told = subject.shell(machine, f"{drop}; tar -xOf /dev/{disk} machine.json")
    assert json.loads(told) == json.loads(before)


def test_a_snapshot_of_another_hypervisor_is_refused_and_changes_nothing(subject: Subject, machine: Instance) -> None:
    path = record(subject, "kept")
    text = path.read_text()
    path.write_text(json.dumps(json.loads(text) | {"hypervisor": "QEMU 1"}))
    subject.shell(machine, "echo now > /dev/shm/note")
    try:
        with pytest.raises(EnvupError, match="cannot be restored"):
            subject.provider.restore_snapshot(machine, "kept")
    finally:
        path.write_text(text)
    assert subject.shell(machine, "cat /dev/shm/note") == "now"


def test_what_a_program_writes_meanwhile_is_there_without_a_gap(
    subject: Subject, machine: Instance, tmp_path: Path
) -> None:
    block = "syswrite(F, pack(q(N), $n++) . q(x) x 4092) == 4096 or die; F->sync or die"
    script = f"use IO::Handle; my $n = 0; open F, q(>), q(/srv/blocks) or die; while (1) {{ {block} }}"
    blocks = "wc -c < /srv/blocks"
    with subject.popen(
        machine, "sh", "-c", f"setsid perl -e '{script}' </dev/null >/dev/null 2>&1 & echo $! > /srv/pid"
    ):
        subject.shell(machine, f"until [ -s /srv/blocks ] && [ $({blocks}) -gt 40960 ]; do sleep 0.1; done")
        subject.provider.take_snapshot(machine, "writing")
        assert abs(float(subject.shell(machine, "date +%s.%N")) - time.time()) < 3
        subject.shell(machine, f"was=$({blocks}); until [ $({blocks}) -gt $was ]; do sleep 0.1; done")
    subject.provider.restore_snapshot(machine, "writing")
    subject.shell(machine, f"was=$({blocks}); until [ $({blocks}) -gt $was ]; do sleep 0.1; done; kill $(cat /srv/pid)")
    check = "$/ = \\4096; while (<STDIN>) { length == 4096 && unpack(q(N), $_) == $i++ or die $i } print $i"
    assert int(subject.shell(machine, f"perl -e '{check}' < /srv/blocks")) > 10
    subject.provider.delete_snapshot(machine, "writing")
    subject.provider.stop(machine, grace=2)
    disk, raw = subject.base / f"data/machines/{ENVIRONMENT}.state/disk.qcow2", tmp_path / "disk"
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(disk), str(raw)], check=True, timeout=120)
    checked = subprocess.run(["/sbin/e2fsck", "-fn", str(raw)], capture_output=True, text=True, timeout=120)
    assert checked.returncode == 0, checked.stdout
    subject.provider.start(machine, subject.spec("state", resources=Resources(disk=DISK)))


def test_the_clock_is_right_after_a_pause(subject: Subject, machine: Instance) -> None:
    subject.provider.suspend(machine)
    time.sleep(5)
    subject.provider.resume(machine)
    assert abs(float(subject.shell(machine, "date +%s.%N")) - time.time()) < 3


def test_a_program_of_a_machine_that_restarts_itself_is_lost_and_the_next_one_runs(
    subject: Subject, machine: Instance
) -> None:
    lost = subject.run(machine, "sh", "-c", "sync; echo b > /proc/sysrq-trigger; sleep 600")
    assert lost.returncode == 125
    assert b"the machine was lost" in lost.stderr
    assert float(subject.shell(machine, "cat /proc/uptime").split()[0]) < 60


def test_the_disk_grows_while_the_machine_runs_and_does_not_shrink(subject: Subject, machine: Instance) -> None:
    assert DISK < size(subject, machine) < DISK + 300 * MIB
    larger = subject.spec("state", resources=Resources(disk=1024 * MIB))
    for _ in range(2):
        subject.provider.resize(machine, larger)
    assert size(subject, machine) > 1024 * MIB
    with pytest.raises(EnvupError, match="cannot be resized"):
        subject.provider.resize(machine, subject.spec("state", resources=Resources(disk=DISK)))
    subject.provider.stop(machine, grace=2)
    subject.provider.start(machine, subject.spec("state", resources=Resources(disk=2048 * MIB)))
    assert size(subject, machine) > 2048 * MIB
    assert subject.shell(machine, "cat /srv/note") == "before"


def memory(subject: Subject, machine: Instance) -> int:
    """What its kernel has, in bytes."""
    return int(subject.shell(machine, "grep MemTotal /proc/meminfo").split()[1]) << 10


def test_memory_shrinks_and_grows_while_the_machine_runs_up_to_what_it_was_started_with(
    subject: Subject, machine: Instance
) -> None:
    before = memory(subject, machine)
    assert isinstance(subject.provider, Resize)
    for mebibytes in (256, 256, 400, 512):
        wanted = subject.spec("state", resources=Resources(disk=2048 * MIB, memory=mebibytes * MIB))
        assert subject.provider.can_resize(machine, wanted)
        subject.provider.resize(machine, wanted)
        assert memory(subject, machine) == before - (512 - mebibytes) * MIB
    larger = subject.spec("state", resources=Resources(disk=2048 * MIB, memory=600 * MIB))
    assert not subject.provider.can_resize(machine, larger)
    with pytest.raises(EnvupError, match="cannot be resized") as refusal:
        subject.provider.resize(machine, larger)
    assert "need a restart" in refusal.value.details


def test_memory_that_programs_use_is_not_taken_from_them(subject: Subject, machine: Instance) -> None:
    before = memory(subject, machine)
    eater = "perl -e '$x = q(x) x (150 << 20); open F, q(>), q(/dev/shm/eaten); sleep 300'"
    begun = f"{eater} >/dev/null 2>&1 & echo $! > /dev/shm/pid"
    subject.shell(machine, f"{begun}; until [ -e /dev/shm/eaten ]; do sleep 0.1; done")
    assert isinstance(subject.provider, Resize)
    with pytest.raises(EnvupError, match="cannot be resized") as refusal:
        subject.provider.resize(machine, subject.spec("state", resources=Resources(disk=2048 * MIB, memory=200 * MIB)))
    assert "leave no more than" in refusal.value.details
    assert memory(subject, machine) == before
    assert subject.shell(machine, "kill $(cat /dev/shm/pid) && echo lived") == "lived"


def test_processors_are_added_while_the_machine_runs_and_are_in_its_snapshots(
    subject: Subject, machine: Instance
) -> None:
    few = int(subject.shell(machine, "nproc"))
    more = subject.spec("state", resources=Resources(disk=2048 * MIB, cpus=few + 1))
    assert isinstance(subject.provider, Resize)
    for _ in range(2):
        assert subject.provider.can_resize(machine, more)
        subject.provider.resize(machine, more)
        assert int(subject.shell(machine, "nproc")) == few + 1
    subject.provider.take_snapshot(machine, "more")
    assert not subject.provider.can_resize(machine, subject.spec("state", resources=Resources(cpus=few)))
    for stopped in (False, True):
        if stopped:
            subject.provider.stop(machine, grace=2)
        subject.provider.restore_snapshot(machine, "more")
        assert int(subject.shell(machine, "nproc")) == few + 1
    subject.provider.delete_snapshot(machine, "more")


def test_an_older_snapshot_of_a_smaller_disk_is_restored(subject: Subject, machine: Instance) -> None:
    subject.provider.restore_snapshot(machine, "kept")
    assert size(subject, machine) < DISK + 300 * MIB
    assert subject.shell(machine, "cat /dev/shm/note; echo whole > /srv/new; sync; cat /srv/new") == "before\nwhole"
    subject.provider.delete_snapshot(machine, "kept")
    assert not record(subject, "kept").exists()
    assert subject.shell(machine, "cat /srv/new") == "whole"
