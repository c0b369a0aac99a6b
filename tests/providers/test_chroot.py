"""What only the chroot provider has: layers on tmpfs and disk, the host as image, personality, recovery."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from envup.errors import EnvupError
from envup.image import Image
from envup.model import ImageReference
from envup.provider import Instance, MachineSpec, Port, Resources
from envup.testing.subject import ENVIRONMENT, PATIENCE, Subject
from envup.value import replace

MIB = 1 << 20
IS_ROOT = os.geteuid() == 0
PROVIDER = "chroot"

pytestmark = pytest.mark.usefixtures("check_no_leak")


def chroot_spec(subject: Subject, name: str, **options: Any) -> MachineSpec:
    return subject.spec(name, options=options)


def test_a_tmpfs_machine_has_its_limits_and_forgets(subject: Subject) -> None:
    spec = chroot_spec(subject, "memory", tmpfs={"size": "32MiB", "inodes": "300"})
    assert not subject.provider.check(spec)
    with subject.running(spec) as instance:
        assert instance.volatile
        assert subject.run(instance, "sh", "-c", "head -c 20000000 /dev/zero > /srv/a").returncode == 0
        assert b"space" in subject.run(instance, "sh", "-c", "head -c 20000000 /dev/zero > /srv/b").stderr
        assert (
            subject.run(instance, "sh", "-c", "cd /srv; rm a b; for i in $(seq 400); do : > $i; done").returncode != 0
        )
        subject.provider.stop(instance, grace=1)
        again = subject.provider.start(instance, spec)
        assert again.id != instance.id
        assert subject.shell(again, "ls /srv") == ""


def test_a_disk_limit_is_kept_or_refused(subject: Subject) -> None:
    spec = subject.spec("disk", resources=Resources(disk=64 * MIB))
    if not IS_ROOT:
        (reason,) = subject.provider.check(spec)
        assert "resources.disk" in reason
        assert "tmpfs" in reason
        return
    with subject.running(spec) as instance:
        assert not instance.volatile
        assert b"space" in subject.run(instance, "sh", "-c", "head -c 90000000 /dev/zero > /srv/a").stderr
        subject.shell(instance, "rm /srv/a; echo kept > /srv/note")
        subject.provider.stop(instance, grace=1)
        instance = subject.provider.start(instance, subject.spec("disk", resources=Resources(disk=256 * MIB)))
        assert subject.shell(instance, "head -c 90000000 /dev/zero > /srv/a; cat /srv/note") == "kept"


def test_an_i386_image_has_the_personality_of_one(subject: Subject) -> None:
    with subject.running(subject.spec("old"), image=replace(subject.image, architecture="i386")) as instance:
        assert subject.shell(instance, "uname -m") == "i686"


def test_capabilities_are_dockers_and_those_that_were_added(subject: Subject) -> None:
    spec = chroot_spec(subject, "capable", cap_add=["SYS_NICE"])
    with subject.running(subject.spec("plain")) as plain, subject.running(spec) as more:
        script = "awk '/^Cap(Bnd|Eff)/ { print $2 }' /proc/self/status"
        assert subject.shell(plain, script) == "00000000a80425fb\n00000000a80425fb"
        assert subject.shell(more, script) == "00000000a88425fb\n00000000a88425fb"


def test_the_hosts_own_system_is_an_image_for_root(subject: Subject) -> None:
    host = Image("host", None, "amd64")
    spec = MachineSpec(name="mirror", image=ImageReference("host"), provider="chroot")
    if not IS_ROOT:
        assert any("root" in reason for reason in subject.provider.check(spec))
        return
    assert not subject.provider.check(spec)
    with subject.running(spec, image=host) as instance:
        assert subject.shell(
            instance, "ls /root /home /tmp /var/log /run /mnt; ls /etc/ssh/ssh_host_* 2>/dev/null || true"
        )
        assert subject.run(instance, "ls", str(subject.base)).returncode != 0
        fields = subject.shell(instance, "cut -d: -f2 /etc/shadow | sort -u")
        assert fields == "*"
        assert subject.shell(instance, "ls -A /root /tmp | grep -v :$ | grep . || echo none") == "none"
        subject.shell(instance, "echo x > /etc/envup-made; rm /etc/debian_version")
    assert not Path("/etc/envup-made").exists()
    assert Path("/etc/debian_version").exists()


def test_an_interrupted_creation_is_broken_and_can_be_repaired(subject: Subject) -> None:
    for repair in ("destroy", "create"):
        remains = subject.base / "data/machines" / f"{ENVIRONMENT}.half"
        (remains / "upper").mkdir(parents=True)
        (instance,) = [one for one in subject.again().observe(ENVIRONMENT) if one.machine == "half"]
        assert instance.state == "broken"
        assert instance.reason
        if repair == "create":
            instance = subject.create(subject.spec("half"))
        subject.provider.destroy(instance)
        assert subject.state("half") == "absent"
        assert not remains.exists()


def test_a_command_killed_while_it_starts_a_machine_leaves_it_usable(subject: Subject) -> None:
    """The starter keeps the machine locked until it is known whether it runs."""
    script = """
import os, sys, threading, time
from envup.image import Image
from envup.testing.subject import Subject
from envup_chroot.provider import ChrootProvider
from pathlib import Path
subject = Subject(ChrootProvider, Path(sys.argv[1]), Image(sys.argv[2], Path(sys.argv[3]), "amd64"), {})
spec = subject.spec("torn")
(instance,) = [one for one in subject.provider.observe(sys.argv[5]) if one.machine == "torn"]
delay = float(sys.argv[4])
threading.Thread(target=lambda: (time.sleep(delay), os.kill(os.getpid(), 9))).start()
subject.provider.start(instance, spec)
time.sleep(1)
"""
    spec = subject.spec("torn")
    for milliseconds in range(0, 60, 4):
        instance = subject.create(spec)
        archive = str(subject.image.archive)
        line = [
            sys.executable,
            "-c",
            script,
            str(subject.base),
            subject.image.digest,
            archive,
            str(milliseconds / 1000),
            ENVIRONMENT,
        ]
        done = subprocess.run(line, timeout=PATIENCE, check=False, capture_output=True)
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        if milliseconds % 8:
            instance = subject.provider.start(instance, spec)
            assert subject.run(instance, "true").returncode == 0
        subject.provider.destroy(instance)
        assert subject.state("torn") == "absent"


def test_a_paused_caller_does_not_hold_up_destroy(subject: Subject) -> None:
    with subject.running(subject.spec("paused")) as instance:
        process = subject.popen(instance, "sh", "-c", "echo ready; sleep 600", streams={"stdout": subprocess.PIPE})
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        subject.provider.stop(instance, grace=0.2)
        assert time.monotonic() - began < 20
        process.communicate(timeout=PATIENCE)


def test_an_image_in_use_is_not_removed(subject: Subject) -> None:
    instance = subject.create(subject.spec("user"))
    try:
        with pytest.raises(EnvupError, match="in use"):
            subject.provider.remove_form(subject.image.digest)
    finally:
        subject.provider.destroy(instance)
    assert [digest for digest, size in subject.provider.forms() if size > 0] == [subject.image.digest]
    for _ in range(2):
        subject.provider.remove_form(subject.image.digest)
    assert not subject.provider.forms()
    assert not list((subject.base / "data/images").iterdir())


def test_a_half_unpacked_image_goes_with_the_next_destroy(subject: Subject) -> None:
    images = subject.base / "data/images"
    remains = images / f".{'0' * 64}.4711-abcd/usr"
    remains.mkdir(parents=True)
    assert (f"sha256:{'0' * 64}", 0) in subject.provider.forms()
    subject.provider.destroy(subject.create(subject.spec("brief")))
    assert not [path for path in images.iterdir() if "0" * 64 in path.name]


def test_observing_a_hundred_machines_is_quick(subject: Subject) -> None:
    made = [subject.create(subject.spec(f"m{number}"), environment=f"{ENVIRONMENT}h") for number in range(100)]
    try:
        seconds = []
        for _ in range(5):
            began = time.monotonic()
            assert len(subject.provider.observe(f"{ENVIRONMENT}h")) == 100
            seconds.append(time.monotonic() - began)
        assert min(seconds) < 0.02
        used = int(
            subprocess.run(
                ["du", "-sk", subject.base / "data/machines"], capture_output=True, check=False
            ).stdout.split()[0]
        )
        assert used < 64 * 1024
    finally:
        for instance in made:
            subject.provider.destroy(instance)


def test_a_dangling_resolver_link_is_replaced(subject: Subject) -> None:
    spec = subject.spec("dangling")
    with subject.running(spec) as instance:
        assert subject.run(instance, "grep", "-q", "nameserver", "/etc/resolv.conf").returncode == 0
        subject.shell(instance, "ln -sf /run/nowhere/resolv.conf /etc/resolv.conf; echo 10.0.0.1 mine >> /etc/hosts")
        subject.provider.stop(instance, grace=1)
        instance = subject.provider.start(instance, spec)
        assert subject.shell(instance, "grep -c nameserver /etc/resolv.conf; grep -c mine /etc/hosts") == "1\n1"


def test_the_first_process_gives_nothing_away(subject: Subject, machine: Instance) -> None:
    for name in ("exe", "environ", "fd/0", "cwd"):
        assert subject.run(machine, "head", "-c1", f"/proc/1/{name}").returncode != 0, name


def test_mounting_is_not_for_programs(subject: Subject, machine: Instance) -> None:
    assert subject.run(machine, "mount", "-t", "tmpfs", "x", "/mnt").returncode != 0
    assert subject.run(machine, "umount", "/proc/sys").returncode != 0


def test_the_kernels_secrets_are_hidden(subject: Subject, machine: Instance) -> None:
    assert subject.run(machine, "sh", "-c", "cat /proc/kcore /proc/keys /proc/timer_list | head -c1").stdout == b""


def test_device_nodes_are_dead(subject: Subject, machine: Instance) -> None:
    subject.run(machine, "sh", "-c", "mknod /srv/null c 1 3; mknod /dev/zero2 c 1 5; chmod 666 /srv/null")
    for path in ("/srv/null", "/dev/zero2"):
        assert subject.run(machine, "head", "-c1", path).returncode != 0


def test_the_machine_has_few_processes_of_its_own(subject: Subject, machine: Instance) -> None:
    assert int(subject.shell(machine, "ls -d /proc/[0-9]* | wc -l")) < 8


def test_ports_that_are_remapped_are_refused_naming_who_can(subject: Subject) -> None:
    same = subject.spec(ports=(Port(8080, 8080),))
    assert not subject.provider.check(same)
    for port in (Port(80, 8080), Port(80, 0, "127.0.0.1")):
        (reason,) = subject.provider.check(subject.spec(ports=(port,)))
        assert "docker" in reason
    with subject.running(same) as instance:
        assert instance.ports == same.ports


def test_peers_are_known_before_they_exist(subject: Subject) -> None:
    with subject.running(subject.spec("web", peers=("db",), hostname="shop")) as instance:
        assert {"localhost", "shop", "db"} <= set(subject.shell(instance, "cat /etc/hosts").split())


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_that_is_taken_on_the_host_is_refused_at_the_start(
    subject: Subject, protocol: str, address: str
) -> None:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind((address, 0))
        if protocol == "tcp":
            other.listen()
        number = other.getsockname()[1]
        spec = subject.spec("late", ports=(Port(number, number, None, protocol),))
        instance = subject.create(spec)
        try:
            with pytest.raises(EnvupError, match=f"port {number}/{protocol}: it is taken") as caught:
                subject.provider.start(instance, spec)
            assert f"sport = :{number}" in caught.value.hint
            assert subject.state("late") == "created"
            other.close()
            assert subject.provider.start(instance, spec).ports == spec.ports
            with socket.socket(socket.AF_INET, kind) as service:
                service.bind(("", number))
        finally:
            subject.provider.destroy(instance)
