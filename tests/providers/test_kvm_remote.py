"""Machines on another host, which this one reaches by SSH: here the same host again, and a script in the place of
OpenSSH's client that runs there what it was told to."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_machines import open_directory

from envup.errors import EnvupError
from envup.model import Mount
from envup.testing.subject import Subject

PROVIDER = "kvm"
POOL = f"envup-test-{os.getpid()}"
CLIENT = '#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n'
pytestmark = [pytest.mark.root, pytest.mark.slow]


def virsh(*arguments: str) -> None:
    subprocess.run(["virsh", "--quiet", *arguments], check=True, timeout=60)


@pytest.fixture
def pool() -> Iterator[Path]:
    """The directory of a storage pool, which QEMU's account reaches."""
    with open_directory() as directory:
        place = directory / "pool"
        virsh("pool-define-as", POOL, "dir", "--target", str(place))
        virsh("pool-build", POOL)
        place.chmod(0o711)
        yield place
        with contextlib.suppress(subprocess.CalledProcessError):  # it may never have been started
            virsh("pool-destroy", POOL)
        virsh("pool-undefine", POOL)


@pytest.fixture
def uri(tmp_path: Path) -> str:
    client = tmp_path / "ssh"
    client.write_text(CLIENT)
    client.chmod(0o755)
    return f"qemu+ssh://root@127.0.0.1/system?command={client}"


def test_a_machine_on_another_host_is_used_as_any_other_and_leaves_nothing_of_its_own(
    subject: Subject, pool: Path, uri: str
) -> None:
    spec = subject.spec("away", options={"uri": uri, "pool": POOL}, environment={"SECRET": "never on a disk"})
    with subject.running(spec) as instance:
        assert subject.shell(instance, "echo kept > /srv/note; echo $SECRET") == "never on a disk"
        assert subject.run(instance, "cat", data=os.urandom(1 << 20)).returncode == 0
        assert not list(pool.glob("*.facts"))
        with pytest.raises(EnvupError, match="provider kvm has no snapshots there"):
            subject.provider.take_snapshot(instance, "one")
        subject.provider.stop(instance)
        assert subject.state("away") == "stopped"
        instance = subject.provider.start(instance, spec)
        assert subject.shell(instance, "cat /srv/note") == "kept"
        console = subject.provider.console(instance)
        assert subprocess.run(console.argv, capture_output=True, check=True).stderr == b""
    assert {path.name.split("-")[2] for path in pool.iterdir()} == {
        "initrd", "kernel", "kit", f"{subject.image.digest.rpartition(':')[2]}.ext4",
    }  # fmt: skip
    subject.provider.remove_form(subject.image.digest)
    assert not list(pool.glob("*.ext4"))


def test_a_pool_that_is_missing_is_told_with_the_commands_that_make_it(subject: Subject, uri: str) -> None:
    spec = subject.spec("away", options={"uri": uri, "pool": "nowhere"})
    instance = subject.create(spec)
    try:
        with pytest.raises(EnvupError, match="has no storage pool 'nowhere'") as caught:
            subject.provider.start(instance, spec)
        assert "pool-define-as nowhere dir" in (caught.value.hint or "")
    finally:
        subject.provider.destroy(instance)


def test_what_another_host_cannot_have_is_refused_by_name(subject: Subject, tmp_path: Path, uri: str) -> None:
    spec = subject.spec("away", options={"uri": uri}, mounts=(Mount(tmp_path, "/here"),))
    assert any("mounts: machines at qemu+ssh" in reason for reason in subject.provider.check(spec))
    near = subject.spec("near", options={"pool": "default"})
    assert any("kvm.pool" in reason for reason in subject.provider.check(near))
