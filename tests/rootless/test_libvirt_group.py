"""A member of the group libvirt has machines in root's libvirt: their files are in a storage pool there."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ordinary import Account, Project

from envup.testing import images

pytestmark = [pytest.mark.rootless, pytest.mark.slow, pytest.mark.timeout(600)]

POOL = "envup-test-group"


def virsh(*arguments: str) -> None:
    subprocess.run(["virsh", "--quiet", *arguments], check=True, timeout=60)


@pytest.fixture
def pool(place: Path) -> Iterator[Path]:
    """The directory of a storage pool of root's libvirt."""
    directory = place / "pool"
    virsh("pool-define-as", POOL, "dir", "--target", str(directory))
    virsh("pool-build", POOL)
    directory.chmod(0o711)
    virsh("pool-start", POOL)
    yield directory
    virsh("pool-destroy", POOL)
    virsh("pool-undefine", POOL)


@pytest.fixture
def project(account: Account, place: Path, pool: Path) -> Project:
    member = Account(account.name, place, place / "member", groups=["libvirt"])
    image = f"image: {{tarball: {images.built()}}}\nmounts: []\nprovider: kvm\n"
    return member.project("group", f"{image}kvm: {{uri: 'qemu:///system', pool: {POOL}}}\n")


def test_a_member_of_the_group_has_machines_in_roots_libvirt(project: Project, pool: Path) -> None:
    try:
        project.must("up", "--yes")
        assert project.must("exec", "--", "sh", "-c", "id -u; cat /proc/1/comm").split() == ["0", "init"]
        assert list(pool.glob("*.qcow2"))
        assert list(pool.glob("*.facts")) == []
    finally:
        project.must("destroy", "--yes")
    assert list(pool.glob("*.qcow2")) == []
