"""The first file system of a virtual machine: which modules it has, in which order, and how it is packed."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import pytest

from envup.errors import EnvupError
from envup_kvm import initramfs

ORDER = ["virtio_pci", "virtio_blk", "crc16", "jbd2", "ext4", "virtio_console", "failover", "virtio_net", "virtio_rng"]


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    """The modules of a kernel; the balloon's is part of the kernel itself."""
    needs = {"ext4": "crc16,jbd2", "jbd2": "crc16", "virtio_net": "failover"}
    for name in ORDER:
        file = tmp_path / "kernel" / f"{name.replace('_', '-') if name == 'virtio_rng' else name}.ko"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"\x7fELF\0license=GPL\0depends=" + needs.get(name, "").encode() + b"\0name=x\0")
    (tmp_path / "modules.builtin").write_text("kernel/drivers/virtio/virtio-balloon.ko\n")
    return tmp_path


def unpacked(archive: bytes, place: Path) -> None:
    place.mkdir()
    line = ["busybox", "cpio", "-idm"]
    subprocess.run(line, input=gzip.decompress(archive), cwd=place, check=True, capture_output=True)


def test_modules_come_after_those_that_they_need(kernel: Path, tmp_path: Path) -> None:
    archive = initramfs.early(kernel, Path("/bin/true"), "#!/bin/busybox sh\n")
    unpacked(archive, tmp_path / "out")
    assert (tmp_path / "out/lib/order").read_text().split() == ORDER
    assert (tmp_path / "out/init").stat().st_mode & 0o111
    assert (tmp_path / "out/bin/busybox").read_bytes() == Path("/bin/true").read_bytes()


def test_a_kernel_that_lacks_one_is_an_error_that_names_it(kernel: Path) -> None:
    (kernel / "kernel/jbd2.ko").unlink()
    with pytest.raises(EnvupError, match="jbd2"):
        initramfs.early(kernel, Path("/bin/true"), "")


def test_programs_are_packed_with_what_they_were_compiled_to(tmp_path: Path) -> None:
    source = tmp_path / "one.py"
    source.write_text("VALUE = 1\n")
    unpacked(initramfs.programs({"package/one.py": source}), tmp_path / "out")
    assert (tmp_path / "out/programs/package/one.py").read_text() == "VALUE = 1\n"
    assert list((tmp_path / "out/programs/package/__pycache__").glob("one.*.pyc"))
