"""Mounts of virtual machines: what shares them sees nothing else, ends with its machine, and comes and goes."""

from __future__ import annotations

import os
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from envup.errors import EnvupError
from envup.provider import Instance, MachineSpec, Mount
from envup.testing.subject import Subject
from envup_kvm import connection, mounting, owners, shares, shares_moving
from envup_kvm.machines import Machine

PROVIDER = "kvm"
PATIENCE = 30
"""Seconds in which a process ends that has nothing to do any more."""
pytestmark = [pytest.mark.root, pytest.mark.slow]


class Shared:
    """A running machine with mounts, and the directory on the host that they are in."""

    def __init__(self, subject: Subject, spec: MachineSpec, instance: Instance, host: Path) -> None:
        self.subject, self.spec, self.instance, self.host = subject, spec, instance, host
        directory = subject.base / "data/machines" / f"{instance.labels['envup.environment']}.{spec.name}"
        self.machine = Machine.of(instance.labels, directory, subject.provider.context)

    def shell(self, script: str) -> str:
        return self.subject.shell(self.instance, script)

    def daemons(self) -> list[int]:
        return daemons(self.machine.place)


@pytest.fixture(scope="module")
def libvirtd() -> Iterator[Any]:
    connections = connection.Connections()
    yield connections.at(connection.SYSTEM)


@pytest.fixture(scope="module")
def shared(subjects: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """One for all cases that leave it as it was."""
    host = tmp_path_factory.mktemp("host")
    for name in ("rw", "ro", "beside"):
        (host / name).mkdir()
    for name in ("ro/note", "beside/note", "one", "other"):
        (host / name).write_text(name)
    mounts = (Mount(host / "rw", "/rw"), Mount(host / "ro", "/ro", read_only=True), Mount(host / "one", "/etc/one"))
    subject: Subject = subjects(PROVIDER)
    spec = subject.spec("shared", mounts=mounts)
    with subject.running(spec) as instance:
        yield Shared(subject, spec, instance, host)


def daemons(place: Path) -> list[int]:
    """The processes that share mounts of a machine, and those that start them."""
    mark = b"ENVUP_MACHINE=%s\0" % os.fsencode(place)
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:  # it has ended
            continue
    return found


def await_end(processes: list[int]) -> None:
    for process in processes:
        try:
            descriptor = os.pidfd_open(process)
        except ProcessLookupError:
            continue
        assert select.select([descriptor], [], [], PATIENCE)[0], f"process {process} does not end"
        os.close(descriptor)


def test_the_device_of_a_machine_has_its_mounts_and_nothing_beside(shared: Shared) -> None:
    assert shared.shell(f"find {mounting.PLACE} | sort").split() == [
        mounting.PLACE,
        *(f"{mounting.PLACE}/{name}" for name in ("0", "1", "1/note", "2")),
    ]
    for target in ("3", "1/new", "1/note"):
        refused = shared.subject.run(shared.instance, "sh", "-c", f"echo x > {mounting.PLACE}/{target}")
        assert b"Read-only file system" in refused.stderr, target
    assert shared.subject.run(shared.instance, "mknod", "/rw/disk", "b", "1", "0").returncode != 0
    assert shared.subject.run(shared.instance, "ls", mounting.PLACE, user="nobody").returncode != 0
    assert (shared.host / "ro/note").read_text() == "ro/note"


def test_links_in_a_mount_lead_to_files_of_the_machine(shared: Shared) -> None:
    (shared.host / "rw/link").symlink_to(shared.host / "beside/note")
    (shared.host / "rw/up").symlink_to("../beside/note")
    for name in ("link", "up"):
        assert shared.subject.run(shared.instance, "cat", f"/rw/{name}").returncode != 0


def test_owners_modes_and_attributes_cross(shared: Shared) -> None:
    shared.shell("cd /rw; echo x > owned; chown 1234:4321 owned; chmod 2750 owned")
    found = (shared.host / "rw/owned").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 4321, 0o2750)
    os.setxattr(shared.host / "rw/owned", "user.note", b"kept")
    read = "import os; print(os.getxattr('/rw/owned', 'user.note').decode())"
    python = "/run/envup/kit/python"
    assert shared.subject.run(shared.instance, python, "-c", read).stdout == b"kept\n"


def test_only_the_account_of_qemu_reaches_the_socket(shared: Shared, libvirtd: Any) -> None:
    found = (shared.machine.place / shares.SOCKET).stat()
    assert (found.st_uid, found.st_gid) == owners.qemu(libvirtd) != (0, 0)
    assert stat.S_IMODE(found.st_mode) == 0o600


def test_mounts_are_taken_out_unless_somebody_uses_them_and_put_in_again(shared: Shared, libvirtd: Any) -> None:
    before = shared.daemons()
    assert before
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with shared.subject.popen(shared.instance, "sh", "-c", "cd /rw; echo in; read line", streams=streams) as user:
        assert user.stdout.readline() == b"in\n"
        with pytest.raises(EnvupError) as caught:
            shares_moving.take_out(libvirtd, shared.machine, shared.spec)
        user.communicate(b"\n", timeout=PATIENCE)
    assert "in use by sh, process " in caught.value.details
    assert shared.shell("cat /ro/note") == "ro/note"
    for _second in range(2):
        shares_moving.take_out(libvirtd, shared.machine, shared.spec)
    await_end(before)
    assert shared.shell("ls /rw; grep -c virtiofs /proc/self/mounts || true") == "0"
    for _second in range(2):
        shares_moving.put_in(libvirtd, shared.machine, shared.spec)
    assert shared.shell("cat /ro/note /etc/one; echo x > /rw/again") == "ro/noteone"
    assert (shared.host / "rw/again").read_text() == "x\n"
    assert len(shared.daemons()) == len(before)


def test_mounts_are_there_after_a_machine_restarts_itself(shared: Shared) -> None:
    shared.subject.run(shared.instance, "sh", "-c", "echo b > /proc/sysrq-trigger")
    shared.subject.provider.start(shared.instance, shared.spec)
    assert shared.shell("cut -d. -f1 /proc/uptime; cat /ro/note").endswith("ro/note")
    assert int(shared.shell("cut -d. -f1 /proc/uptime")) < 300


def test_what_shares_the_mounts_ends_with_a_machine_that_is_killed(shared: Shared, libvirtd: Any) -> None:
    before = shared.daemons()
    domain = shared.machine.domain(libvirtd)
    assert domain is not None
    pid = int(Path(f"/run/libvirt/qemu/{domain.name()}.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    await_end(before)
    assert shared.daemons() == []
    shared.instance = shared.subject.provider.start(shared.instance, shared.spec)
    assert shared.shell("cat /ro/note") == "ro/note"


STARTER = """\
import sys
from pathlib import Path
from envup.model import ImageReference
from envup.provider import MachineSpec, Mount
from envup_kvm import connection, shares
place = Path(sys.argv[1])
spec = MachineSpec(name="web", image=ImageReference("tarball"), provider="kvm", mounts=(Mount(place, "/data"),))
with shares.offered(connection.connect("qemu:///system"), place, spec):
    print("offered", flush=True)
    sys.stdin.read()
"""


def test_nothing_stays_of_a_start_that_is_killed_before_its_machine_connects(tmp_path: Path) -> None:
    line = (sys.executable, "-c", STARTER, str(tmp_path))
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "offered\n"
        limit = time.monotonic() + PATIENCE
        while not (waiting := daemons(tmp_path)):  # a program that was just executed shows no variables yet
            assert time.monotonic() < limit
        starter.kill()
    await_end(waiting)
    assert daemons(tmp_path) == []


def test_a_target_that_cannot_be_made_is_told_and_the_machine_does_not_run(subject: Subject, tmp_path: Path) -> None:
    spec = subject.spec("odd", mounts=(Mount(tmp_path, "/etc/passwd/below"),))
    instance = subject.create(spec)
    try:
        with pytest.raises(EnvupError) as caught:
            subject.provider.start(instance, spec)
        assert "mounts: /etc/passwd/below in the machine: Not a directory" in caught.value.details
        assert subject.state("odd") == "stopped"
    finally:
        subject.provider.destroy(instance)


def test_what_cannot_be_mounted_is_refused(subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reasons(source: Path, target: str) -> str:
        return "\n".join(subject.provider.check(subject.spec(mounts=(Mount(source, target),))))

    for target in ("/", "/proc/x", "/sys", "/dev", "/run", "/run/envup", "/run/envup/kit/facts"):
        assert f"mounts: nothing can be mounted at {target}" in reasons(tmp_path, target)
    assert "mounts: /dev/null is neither file nor directory" in reasons(Path("/dev/null"), "/x")
    assert "mounts: /missing does not exist" in reasons(Path("/missing"), "/x")
    assert reasons(tmp_path, "/run/mine") == ""
    monkeypatch.setattr("envup_kvm.virtiofsd.find", lambda: None)
    assert "apt-get install virtiofsd" in reasons(tmp_path, "/x")
