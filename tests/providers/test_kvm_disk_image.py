"""Virtual machines that boot from a disk image by its own boot loader and kernel."""

from __future__ import annotations

import io
import tarfile
import tempfile
from pathlib import Path
from typing import IO

import cloud_disk
import pytest

from envup.errors import EnvupError
from envup.image import Image
from envup.model import ImageReference, MachineSpec, Resources
from envup.provider import Instance
from envup.testing.subject import Subject
from envup.value import replace

PROVIDER = "kvm"
pytestmark = [pytest.mark.root, pytest.mark.slow]

GIB = 1 << 30
SHORT = 15
"""Seconds for a boot that leads nowhere."""


def declared(subject: Subject, disk: Path, name: str, **fields: object) -> MachineSpec:
    return replace(subject.spec(name, **fields), image=ImageReference("disk", {"disk": str(disk)}))


def obtained(subject: Subject, spec: MachineSpec) -> Image:
    image = subject.provider.obtain(spec.image, subject.events.append)
    assert isinstance(image, Image)
    return image


def room(subject: Subject, instance: Instance) -> int:
    return int(subject.shell(instance, "df --output=size --block-size=1 / | tail -1"))


@pytest.mark.timeout(900)
def test_a_disk_image_boots_and_is_used_as_any_machine(subject: Subject, tmp_path: Path) -> None:
    spec = declared(subject, cloud_disk.built(), "cloud", hostname="sky", environment={"WORD": "nowhere-written"})
    assert subject.provider.check(spec) == []
    image = obtained(subject, spec)
    with subject.running(spec, image=image) as instance:
        assert subject.shell(instance, "hostname; cat /etc/hostname; getent hosts cloud | awk '{print $2}'") == (
            "sky\nsky\ncloud"
        )
        assert (
            subject.shell(instance, "systemctl is-system-running; systemctl --failed --plain --no-legend") == "running"
        )
        assert subject.shell(instance, "cloud-init status") == "status: done"
        assert "eth0" in subject.shell(instance, "ip -4 route show default")
        assert subject.run(instance, "sh", "-c", 'printf %s "$1"; exit 7', "sh", "a  b\n").stdout == b"a  b\n"
        assert subject.shell(instance, "cat /proc/self/cgroup") == "0::/"
        assert subject.shell(instance, "cut -d: -f2 /etc/shadow | grep -v '^[*!]' | wc -l") == "0"
        assert subject.shell(instance, "find / -xdev -name authorized_keys") == ""
        assert subject.shell(instance, "echo $WORD; grep -rls $WORD /etc /var || echo none") == (
            "nowhere-written\nnone"
        )
        assert room(subject, instance) > 30 * GIB
        larger = replace(spec, resources=Resources(disk=40 * GIB))
        subject.provider.resize(instance, larger)
        assert room(subject, instance) > 38 * GIB
        with tempfile.TemporaryFile() as archive:
            pack(archive, b"carried")
            subject.provider.send(instance, "/srv", archive)
        assert subject.shell(instance, "cat /srv/file") == "carried"
        subject.provider.stop(instance, grace=60)
        said = Path(subject.provider.console(instance).argv[-1]).read_text(errors="replace")
        assert "Power down" in said
        instance = subject.provider.start(instance, larger)
        assert subject.shell(instance, "cat /srv/file; ls /var/lib/cloud/instances | wc -l") == "carried1"
        assert subject.provider.exports(instance) == "qcow2"
        with (tmp_path / "packaged.qcow2").open("wb") as file:
            subject.provider.export(instance, file)
        identity = subject.shell(instance, "cat /etc/machine-id")
    require_another(subject, tmp_path / "packaged.qcow2", identity)
    subject.provider.remove_form(image.digest)
    assert image.digest not in dict(subject.provider.forms())


def require_another(subject: Subject, disk: Path, identity: str) -> None:
    """A machine from what the first was packaged as has its files, and is another one."""
    spec = declared(subject, disk, "again", resources=Resources(disk=40 * GIB))
    image = obtained(subject, spec)
    with subject.running(spec, image=image) as instance:
        assert subject.shell(instance, "cat /srv/file; ls /var/lib/cloud/instances | wc -l") == "carried2"
        assert subject.shell(instance, "hostname") == "again"
        assert subject.shell(instance, "cat /etc/machine-id") != identity
    subject.provider.remove_form(image.digest)


def pack(file: IO[bytes], content: bytes) -> None:
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("file")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    file.seek(0)


def test_a_disk_that_lets_nobody_in_is_told_with_what_it_lacks(subject: Subject, tmp_path: Path) -> None:
    disk = tmp_path / "empty.img"
    disk.write_bytes(bytes(510) + b"\x55\xaa" + bytes(1 << 20))
    spec = declared(subject, disk, "mute", options={"boot_timeout": SHORT})
    image = obtained(subject, spec)
    instance = subject.create(spec, image=image)
    try:
        with pytest.raises(EnvupError, match="boot fails") as caught:
            subject.provider.start(instance, spec)
        assert "needs cloud-init" in caught.value.hint
        assert subject.state("mute") == "stopped"
    finally:
        subject.provider.destroy(instance)
    subject.provider.remove_form(image.digest)
