"""What a machine sees of the host: nothing but what was declared."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from envup.provider import Instance
from envup.testing.subject import PATIENCE, Subject
from envup.testing.traces import processes_with


def test_the_machine_has_processes_of_its_own(subject: Subject, machine: Instance) -> None:
    assert "pytest" not in subject.shell(machine, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    assert subject.run(machine, "sh", "-c", f"kill -0 {os.getpid()}").returncode != 0


def test_no_file_of_the_host_can_be_reached(subject: Subject, machine: Instance) -> None:
    mark = subject.base / "of-the-host"
    mark.write_text("secret")
    for path in (mark, f"/proc/1/root{mark}", f"/proc/1/cwd{mark}", f"/../../..{mark}"):
        assert subject.run(machine, "cat", str(path)).returncode != 0
    assert str(subject.base) not in subject.shell(
        machine, "cat /proc/self/mounts /proc/self/mountinfo | grep -v ' - devtmpfs'"
    )


def test_a_classic_escape_does_not_work(subject: Subject, machine: Instance) -> None:
    perl = f"chroot q(/tmp/jail); chdir q(..) for 1..64; chroot q(.); print -e q({subject.base}) ? 1 : 0"
    assert subject.shell(machine, f"mkdir -p /tmp/jail; exec perl -e '{perl}'") == "0"


def test_no_descriptor_of_the_caller_leaks_in(subject: Subject, machine: Instance) -> None:
    leaked = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    os.set_inheritable(leaked, True)
    try:
        streams = {"stdout": -1, "close_fds": False}
        process = subject.popen(machine, "sh", "-c", "ls /proc/self/fd", streams=streams)
        assert process.communicate(timeout=PATIENCE)[0].split() == [b"0", b"1", b"2", b"3"]
    finally:
        os.close(leaked)


@pytest.mark.parametrize(
    "path", ["/sys/x", "/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern"]
)
def test_the_kernels_knobs_are_read_only(subject: Subject, machine: Instance, path: str) -> None:
    subject.needs_shared_kernel()
    assert subject.run(machine, "sh", "-c", f"echo h > {path}").returncode != 0


def test_values_of_variables_are_on_no_disk(subject: Subject) -> None:
    spec = subject.spec("secretive", environment={"TOKEN": "hunter2-on-no-disk"})
    with subject.running(spec) as instance:
        assert subject.shell(instance, "echo $TOKEN") == "hunter2-on-no-disk"
        for path in subject.base.rglob("*.json"):
            assert "hunter2" not in path.read_text()


def test_the_usual_devices_live_and_those_of_the_host_are_dead(subject: Subject, machine: Instance) -> None:
    subject.needs_shared_kernel()
    for name in ("null", "zero", "full", "random", "urandom"):
        assert subject.run(machine, "head", "-c1", f"/dev/{name}").returncode == 0
    assert subject.run(machine, "ls", "/dev/sda", "/dev/vda", "/dev/mem", "/dev/kmsg").stdout == b""
    assert (
        subject.shell(machine, "echo x | tee /dev/fd/1 | cat; echo y > /dev/stdout; stat -fc %T /dev/shm")
        == "x\nx\ny\ntmpfs"
    )


def test_no_disk_of_the_host_can_be_read(subject: Subject, machine: Instance) -> None:
    subject.needs_shared_kernel()
    disks = {path.read_text().strip().replace(":", " ") for path in Path("/sys/class/block").glob("*/dev")}
    assert disks
    for directory in ("/srv", "/dev", "/dev/shm", "/tmp", "/run"):
        for disk in disks:
            script = f"mknod {directory}/disk b {disk} && head -c1 {directory}/disk"
            assert subject.run(machine, "sh", "-c", script).returncode != 0
            subject.shell(machine, f"rm -f {directory}/disk")


def test_the_kernels_memory_cannot_be_read(subject: Subject, machine: Instance) -> None:
    subject.needs_shared_kernel()
    assert subject.run(machine, "sh", "-c", "cat /proc/kcore | head -c1").stdout == b""


def test_nothing_can_be_loaded_into_the_kernel(subject: Subject, machine: Instance) -> None:
    subject.needs_shared_kernel()
    assert subject.run(machine, "sh", "-c", "echo 1 > /proc/sys/kernel/modules_disabled").returncode != 0
    capabilities = int(subject.shell(machine, "grep CapEff /proc/self/status | cut -f2"), 16)
    initial = subject.shell(machine, "cat /proc/self/uid_map").split() == ["0", "0", "4294967295"]
    assert not (initial and capabilities >> 16 & 1)


def test_the_machines_root_has_no_power_over_the_kernel(subject: Subject, machine: Instance) -> None:
    """Outside a user namespace its capabilities are the host's own; numbers after linux/capability.h."""
    subject.needs_shared_kernel()
    over_all = {"DAC_READ_SEARCH": 2, "SYS_MODULE": 16, "SYS_RAWIO": 17, "SYS_PTRACE": 19, "SYS_ADMIN": 21}
    over_all |= {"SYS_BOOT": 22, "SYS_TIME": 25, "MAC_ADMIN": 33, "SYSLOG": 34, "BPF": 39}
    held = int(subject.shell(machine, "grep CapBnd /proc/self/status | cut -f2"), 16)
    initial = subject.shell(machine, "cat /proc/self/uid_map").split() == ["0", "0", "4294967295"]
    assert not initial or not [name for name, number in over_all.items() if held >> number & 1]


def test_the_network_of_the_host_cannot_be_changed(subject: Subject, machine: Instance) -> None:
    before = Path("/sys/class/net/lo/mtu").read_text()
    change = "socket(S, 2, 2, 0) or exit 3; my $r = pack q(a16 i x12), q(lo), 4000; ioctl(S, 0x8922, $r) or exit 4"
    subject.run(machine, "perl", "-e", change)
    assert Path("/sys/class/net/lo/mtu").read_text() == before


def test_variables_of_the_caller_are_seen_by_nobody_inside(subject: Subject) -> None:
    os.environ["OF_THE_CALLER"] = "seen-by-nobody"
    try:
        with subject.running(subject.spec("blind")) as instance:
            assert "seen-by-nobody" not in subject.shell(instance, "cat /proc/[0-9]*/environ | tr '\\0' ' '")
    finally:
        del os.environ["OF_THE_CALLER"]


def test_stop_shows_nothing_of_its_caller(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is asked to end looks at all that he can see."""
    look = "cat /proc/[0-9]*/environ; ls -l /proc/[0-9]*/exe /proc/[0-9]*/fd; echo looked; exit"
    watcher = f"trap '{look}' TERM; echo ready; while :; do sleep 0.1; done"
    spec = subject.spec("watched")
    with subject.running(spec) as instance:
        subject.shell(
            instance, f'setsid -f sh -c "{watcher}" >/srv/seen 2>&1; until grep -q ready /srv/seen; do :; done'
        )
        monkeypatch.setenv("OF_THE_CALLER", "seen-by-nobody")
        subject.provider.stop(instance, grace=30)
        monkeypatch.delenv("OF_THE_CALLER")
        instance = subject.provider.start(instance, spec)
        seen = subject.shell(instance, "tr '\\0' ' ' < /srv/seen")
    assert "looked" in seen
    assert "seen-by-nobody" not in seen
    assert sys.executable not in seen
    assert os.path.realpath(sys.executable) not in seen


def test_what_kills_everything_harms_its_machine_alone(subject: Subject) -> None:
    subject.needs_shared_kernel()
    with subject.running(subject.spec("beside")) as beside:
        subject.shell(beside, "setsid -f sleep 4714 >/dev/null 2>&1")
        spec = subject.spec("harmed")
        with subject.running(spec) as instance:
            subject.run(instance, "sh", "-c", "trap '' TERM; kill -TERM -1; kill -KILL -1")
            subject.provider.stop(instance, grace=1)
            instance = subject.provider.start(instance, spec)
            assert subject.run(instance, "true").returncode == 0
        assert processes_with("4714")
        assert subject.state("beside") == "running"


def test_the_clock_and_the_name_of_the_host_cannot_be_set(subject: Subject, machine: Instance) -> None:
    subject.needs_shared_kernel()
    before = os.uname().nodename
    assert subject.run(machine, "date", "-s", "2001-01-01").returncode != 0
    subject.run(machine, "hostname", "pwned")
    assert os.uname().nodename == before


def test_a_program_without_a_terminal_has_no_way_to_the_callers(subject: Subject, machine: Instance) -> None:
    assert subject.run(machine, "sh", "-c", "echo x > /dev/tty").returncode != 0
