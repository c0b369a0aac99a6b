"""What a machine sees of the host, and what the host keeps of a machine: nothing but what was declared."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from provider_kit import ENVIRONMENT, PATIENCE, Subject, processes_with

from envup.provider import Instance, Mount


def test_the_machine_has_processes_of_its_own(subject: Subject, machine: Instance) -> None:
    shown = subject.shell(machine, "ls -d /proc/[0-9]* | wc -l")
    assert int(shown) < 8
    assert subject.run(machine, "sh", "-c", f"kill -0 {os.getpid()}").returncode != 0


def test_the_host_name_is_its_own(subject: Subject, machine: Instance) -> None:
    assert (
        subject.shell(machine, "hostname; cat /etc/hostname; grep -c isolation /etc/hosts") == "isolation\nisolation\n1"
    )
    assert os.uname().nodename != "isolation"


def test_names_of_peers_and_of_the_world_can_be_resolved(subject: Subject) -> None:
    with subject.running(subject.spec("web", peers=("db",), hostname="shop")) as instance:
        hosts = subject.shell(instance, "cat /etc/hosts")
        assert {"localhost", "shop", "db"} <= set(hosts.split())
        assert "nameserver" in subject.shell(instance, "cat /etc/resolv.conf")


def test_a_dangling_resolver_link_is_replaced(subject: Subject) -> None:
    spec = subject.spec("dangling")
    with subject.running(spec) as instance:
        assert subject.run(instance, "grep", "-q", "nameserver", "/etc/resolv.conf").returncode == 0
        subject.shell(instance, "ln -sf /run/nowhere/resolv.conf /etc/resolv.conf; echo 10.0.0.1 mine >> /etc/hosts")
        subject.provider.stop(instance, grace=1)
        instance = subject.provider.start(instance, spec)
        assert subject.shell(instance, "grep -c nameserver /etc/resolv.conf; grep -c mine /etc/hosts") == "1\n1"


def test_no_file_of_the_host_can_be_reached(subject: Subject, machine: Instance) -> None:
    mark = subject.base / "of-the-host"
    mark.write_text("secret")
    for path in (mark, f"/proc/1/root{mark}", f"/proc/1/cwd{mark}", f"/../../..{mark}"):
        assert subject.run(machine, "cat", str(path)).returncode != 0
    assert str(subject.base) not in subject.shell(
        machine, "cat /proc/self/mounts /proc/self/mountinfo | grep -v ' - devtmpfs'"
    )


def test_the_first_process_gives_nothing_away(subject: Subject, machine: Instance) -> None:
    for name in ("exe", "environ", "fd/0", "cwd"):
        assert subject.run(machine, "head", "-c1", f"/proc/1/{name}").returncode != 0, name


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


def test_device_nodes_are_dead_and_the_usual_ones_live(subject: Subject, machine: Instance) -> None:
    subject.run(machine, "sh", "-c", "mknod /srv/null c 1 3; mknod /dev/zero2 c 1 5; chmod 666 /srv/null")
    for path in ("/srv/null", "/dev/zero2"):
        assert subject.run(machine, "head", "-c1", path).returncode != 0
    for name in ("null", "zero", "full", "random", "urandom"):
        assert subject.run(machine, "head", "-c1", f"/dev/{name}").returncode == 0
    assert subject.run(machine, "ls", "/dev/sda", "/dev/vda", "/dev/mem", "/dev/kmsg").stdout == b""
    assert (
        subject.shell(machine, "echo x | tee /dev/fd/1 | cat; echo y > /dev/stdout; stat -fc %T /dev/shm")
        == "x\nx\ny\ntmpfs"
    )


@pytest.mark.parametrize(
    "path", ["/sys/x", "/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern"]
)
def test_the_kernels_knobs_are_read_only(subject: Subject, machine: Instance, path: str) -> None:
    assert subject.run(machine, "sh", "-c", f"echo h > {path}").returncode != 0


def test_the_kernels_secrets_are_hidden(subject: Subject, machine: Instance) -> None:
    assert subject.run(machine, "sh", "-c", "cat /proc/kcore /proc/keys /proc/timer_list | head -c1").stdout == b""


def test_mounting_is_not_for_programs(subject: Subject, machine: Instance) -> None:
    assert subject.run(machine, "mount", "-t", "tmpfs", "x", "/mnt").returncode != 0
    assert subject.run(machine, "umount", "/proc/sys").returncode != 0


def test_mounts_are_shared_both_ways_and_read_only_where_asked(subject: Subject, tmp_path: Path) -> None:
    (tmp_path / "rw").mkdir()
    (tmp_path / "ro").mkdir()
    (tmp_path / "file").write_text("one file")
    (tmp_path / "ro/note").write_text("fixed")
    tmp_path.chmod(0o755)
    mounts = (
        Mount(tmp_path / "rw", "/workspace"),
        Mount(tmp_path / "ro", "/deep/er/ro", read_only=True),
        Mount(tmp_path / "file", "/etc/one.conf", read_only=True),
        Mount(tmp_path / "ro", "/workspace/inner"),
    )
    with subject.running(subject.spec(mounts=mounts)) as instance:
        subject.shell(instance, "echo out > /workspace/made; cat /deep/er/ro/note /etc/one.conf /workspace/inner/note")
        assert (tmp_path / "rw/made").read_text() == "out\n"
        assert (tmp_path / "rw/made").stat().st_uid == os.geteuid()
        (tmp_path / "rw/later").write_text("in")
        assert subject.shell(instance, "cat /workspace/later") == "in"
        for target in ("/deep/er/ro/new", "/etc/one.conf"):
            assert subject.run(instance, "sh", "-c", f"echo x > {target}").returncode != 0
    assert (tmp_path / "file").read_text() == "one file"


def test_a_target_behind_a_link_of_the_image_stays_inside(subject: Subject, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "victim").mkdir()
    spec = subject.spec("linked")
    with subject.running(spec) as instance:
        subject.shell(instance, f"ln -s {tmp_path}/victim /link; ln -s ../../../../..{tmp_path}/victim /up")
        subject.provider.stop(instance, grace=1)
        mounts = (Mount(tmp_path / "source", "/link/made"), Mount(tmp_path / "source", "/up/made2"))
        instance = subject.provider.start(instance, subject.spec("linked", mounts=mounts))
        subject.shell(instance, "echo x > /link/made/note")
        assert (tmp_path / "source/note").read_text() == "x\n"
    assert not list((tmp_path / "victim").iterdir())


def test_new_mounts_of_a_start_replace_the_old_ones(subject: Subject, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    spec = subject.spec("moving", mounts=(Mount(tmp_path / "data", "/one"),))
    with subject.running(spec) as instance:
        subject.provider.stop(instance, grace=1)
        instance = subject.provider.start(instance, subject.spec("moving", mounts=(Mount(tmp_path / "data", "/two"),)))
        subject.shell(instance, "echo x > /two/note; test ! -e /one/note")


def test_stop_ends_daemons_too(subject: Subject) -> None:
    spec = subject.spec("daemons")
    with subject.running(spec) as instance:
        stubborn = "trap '' TERM HUP; while :; do sleep 47111; done"
        subject.shell(instance, f'(setsid -f sleep 47110; setsid -f sh -c "{stubborn}") >/dev/null 2>&1')
        subject.provider.stop(instance, grace=0.5)
        assert not processes_with("4711")


def test_a_killed_holder_leaves_a_stopped_machine_that_starts_again(subject: Subject, check_no_leak: None) -> None:
    if subject.name != "chroot":
        return
    spec = subject.spec("killed")
    with subject.running(spec) as instance:
        subject.shell(instance, "echo kept > /srv/note; setsid -f sleep 47112 >/dev/null 2>&1")
        pid = str(subject.provider._way(instance).pid)
        os.kill(int(pid), signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE
        while subject.state("killed") == "running":
            assert time.monotonic() < deadline
        assert subject.state("killed") == "stopped"
        subject.provider.stop(instance)
        assert not processes_with("47112")
        instance = subject.provider.start(instance, spec)
        assert subject.shell(instance, "cat /srv/note") == "kept"


def test_nothing_of_a_machine_is_left_after_destroy(subject: Subject, check_no_leak: None) -> None:
    mark = f"mark-{os.getpid()}-47113"
    spec = subject.spec("traceless", environment={"MARK": mark})
    with subject.running(spec, environment=f"{ENVIRONMENT}t") as instance:
        subject.shell(instance, "setsid -f sleep 600 >/dev/null 2>&1; head -c 1000000 /dev/zero > /srv/big")
        assert processes_with(mark)
    assert not processes_with(mark)
    assert not [path for path in subject.base.rglob("*") if "traceless" in path.name or path.name == f"{ENVIRONMENT}t"]


def test_values_of_variables_are_on_no_disk(subject: Subject) -> None:
    spec = subject.spec("secretive", environment={"TOKEN": "hunter2-on-no-disk"})
    with subject.running(spec) as instance:
        assert subject.shell(instance, "echo $TOKEN") == "hunter2-on-no-disk"
        for path in subject.base.rglob("*.json"):
            assert "hunter2" not in path.read_text()
