"""What only the chroot provider has: layers on tmpfs and disk, the host as image, personality, recovery."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from provider_kit import ENVIRONMENT, PATIENCE, Subject

from envup.errors import EnvupError
from envup.image import Image
from envup.model import ImageReference
from envup.provider import MachineSpec, Resources
from envup.value import replace

MIB = 1 << 20
IS_ROOT = os.geteuid() == 0
ONLY = ("chroot",)

pytestmark = pytest.mark.usefixtures("check_no_leak")


def chroot_spec(subject: Subject, name: str, **options: Any) -> MachineSpec:
    return subject.spec(name, options={"chroot": options})


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
from provider_kit import CANDIDATES, Subject
from envup.image import Image
from pathlib import Path
subject = Subject(CANDIDATES[0], Path(sys.argv[1]), Image(sys.argv[2], Path(sys.argv[3]), "amd64"))
spec = subject.spec("torn")
(instance,) = [one for one in subject.provider.observe(sys.argv[5]) if one.machine == "torn"]
delay = float(sys.argv[4])
threading.Thread(target=lambda: (time.sleep(delay), os.kill(os.getpid(), 9))).start()
subject.provider.start(instance, spec)
time.sleep(1)
"""
    spec = subject.spec("torn")
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
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
        done = subprocess.run(
            line, env={**os.environ, "PYTHONPATH": paths}, timeout=PATIENCE, check=False, capture_output=True
        )
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
