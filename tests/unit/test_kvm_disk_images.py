"""Which disk images are taken in, and which are refused because they lead to other files."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
from pathlib import Path

import pytest

from envup.errors import EnvupError
from envup.events import Event
from envup_kvm import disk_images, disks
from envup_kvm.disks import Disks

MIB = 1 << 20


def qcow2(path: Path, *options: str) -> Path:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, str(path), "8M"], check=True)
    return path


def raw(path: Path) -> Path:
    path.write_bytes(bytes(510) + b"\x55\xaa" + bytes(2 * MIB - 512))
    return path


def taken(tmp_path: Path, disk: Path, **options: str) -> tuple[Path, str]:
    """Where it is kept, and its digest."""
    kept = Disks(tmp_path / "data")
    image = kept.obtain({"disk": str(disk), **options}, lambda _event: None, refresh=False)
    return kept.path(image.digest), image.digest


def test_a_qcow2_image_is_kept_as_it_is(tmp_path: Path) -> None:
    disk = qcow2(tmp_path / "vm")
    path, digest = taken(tmp_path, disk)
    assert path.read_bytes() == disk.read_bytes()
    assert digest == f"sha256:{hashlib.sha256(disk.read_bytes()).hexdigest()}"
    assert disk_images.boots(path)
    assert (disk_images.kind(path), disk_images.size(path)) == ("qcow2", 8 * MIB)


def test_a_compressed_raw_disk_is_kept_expanded(tmp_path: Path) -> None:
    packed = tmp_path / "vm.img.gz"
    packed.write_bytes(gzip.compress(raw(tmp_path / "vm.img").read_bytes()))
    path, _digest = taken(tmp_path, packed, sha256=hashlib.sha256(packed.read_bytes()).hexdigest())
    assert path.read_bytes() == (tmp_path / "vm.img").read_bytes()
    assert (disk_images.kind(path), disk_images.size(path)) == ("raw", 2 * MIB)


def test_it_is_taken_in_once_and_again_when_it_changed(tmp_path: Path) -> None:
    disk, kept, events = raw(tmp_path / "vm.img"), Disks(tmp_path / "data"), list[Event]()
    digests = [kept.obtain({"disk": str(disk)}, events.append, refresh=False).digest for _each in range(2)]
    assert len(set(digests)) == len(events) == 1
    disk.write_bytes(disk.read_bytes() + bytes(MIB))
    assert kept.obtain({"disk": str(disk)}, events.append, refresh=False).digest not in digests
    assert {digest for digest, _size in kept.forms()} >= set(digests)
    with kept.removing(digests[0]):
        pass
    assert digests[0] not in dict(kept.forms())


@pytest.mark.parametrize("option", ["backing", "data"])
def test_an_image_that_needs_another_file_is_refused(tmp_path: Path, option: str) -> None:
    other = qcow2(tmp_path / "other")
    ways = {
        "backing": ("-F", "qcow2", "-b", str(other)),
        "data": ("-o", f"data_file={tmp_path / 'content'},data_file_raw=on"),
    }
    with pytest.raises(EnvupError, match="needs another file") as caught:
        taken(tmp_path, qcow2(tmp_path / "vm", *ways[option]))
    assert "qemu-img convert" in caught.value.hint
    assert not [path for path in (tmp_path / "data/images").iterdir() if path.name not in ("known", "lock")]


@pytest.mark.parametrize(
    "content", [b"", b"QFI\xfb", b"KDMV" + bytes(MIB), bytes(MIB)], ids=["empty", "cut", "vmdk", "zero"]
)
def test_what_is_no_disk_that_boots_is_refused(tmp_path: Path, content: bytes) -> None:
    disk = tmp_path / "vm"
    disk.write_bytes(content)
    with pytest.raises(EnvupError, match="neither a qcow2 image nor a disk"):
        taken(tmp_path, disk)


def test_a_damaged_image_is_refused(tmp_path: Path) -> None:
    disk = qcow2(tmp_path / "vm")
    disk.write_bytes(disk.read_bytes()[:600] + b"\xff" * 200)
    with disk.open("r+b") as file:
        file.seek(4)
        file.write(b"\0\0\0\x63")
    with pytest.raises(EnvupError, match="damaged"):
        taken(tmp_path, disk)


def test_another_checksum_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EnvupError, match=r"image disk .* does not fit its checksum"):
        taken(tmp_path, raw(tmp_path / "vm.img"), sha256="0" * 64)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EnvupError, match=r"image disk .*: No such file"):
        taken(tmp_path, tmp_path / "nowhere")


def test_a_machine_of_it_has_no_smaller_disk_than_it(tmp_path: Path) -> None:
    path, _digest = taken(tmp_path, qcow2(tmp_path / "vm"))
    assert disks.wanted(path, None) == disks.SIZE
    assert disks.wanted(path, 9 * MIB) == 9 * MIB
    with pytest.raises(EnvupError, match=r"resources\.disk: the disk image has"):
        disks.wanted(path, 4 * MIB)
