"""Firmware, TPM and further disks of a virtual machine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from envup.errors import EnvupError
from envup.model import MachineSpec
from envup.testing.subject import ENVIRONMENT, Subject

PROVIDER = "kvm"
pytestmark = [pytest.mark.root, pytest.mark.slow]

DISK = "/dev/disk/by-id/virtio-data"
SIZE = f"cat /sys/class/block/$(basename $(readlink -f {DISK}))/size"


def declared(subject: Subject, size: str, **options: object) -> MachineSpec:
    disks = [{"name": "data", "size": size}, {"name": "logs", "size": "1MB"}]
    return subject.spec("able", options={"disks": disks, **options})


def test_firmware_tpm_and_disks_are_there_grow_and_go(subject: Subject) -> None:
    spec = declared(subject, "64MiB", firmware="uefi", tpm=True)
    assert subject.provider.check(spec) == []
    instance = subject.create(spec)
    directory = subject.provider.context.data / "machines" / f"{ENVIRONMENT}.able"
    domain = f"envup-{ENVIRONMENT}-able"
    line = ["virsh", "-c", "qemu:///system", "domuuid", domain]
    uuid = subprocess.check_output(line, text=True, timeout=60).strip()
    try:
        instance = subject.provider.start(instance, spec)
        assert "TPM2" in subject.shell(instance, "test -d /sys/firmware/efi; ls /sys/firmware/acpi/tables").split()
        assert int(subject.shell(instance, SIZE)) == (64 << 20) // 512
        subject.shell(instance, f"printf kept | dd of={DISK} conv=fsync status=none")
        assert (directory / "nvram.fd").exists()
        assert kept(uuid)
        subject.provider.stop(instance)
        larger = declared(subject, "96MiB")
        instance = subject.provider.start(instance, larger)
        assert int(subject.shell(instance, SIZE)) == (96 << 20) // 512
        assert subject.shell(instance, f"head -c 4 {DISK}; ls -d /sys/firmware/efi || true") == "kept"
        assert not kept(uuid)
        subject.provider.stop(instance)
        with pytest.raises(EnvupError, match=r"kvm\.disks: disk data .* cannot shrink"):
            subject.provider.start(instance, spec)
        assert subject.state("able") == "stopped"
        with pytest.raises(EnvupError, match="boot fails"):
            subject.provider.start(instance, declared(subject, "96MiB", tpm=True, boot_timeout=1))
        assert kept(uuid)
    finally:
        subject.provider.destroy(instance)
    assert not directory.exists()
    assert not kept(uuid)


def kept(uuid: str) -> list[Path]:
    """What libvirt keeps of a machine."""
    return list(Path("/var/lib/libvirt").glob(f"**/*{uuid}*"))


def test_a_processor_that_qemu_has_not_is_refused(subject: Subject) -> None:
    (reason,) = subject.provider.check(subject.spec(options={"cpu": "Abacus"}))
    assert reason.startswith("kvm.cpu: QEMU has no processor Abacus")
    assert subject.provider.check(subject.spec(options={"cpu": "Nehalem"})) == []
