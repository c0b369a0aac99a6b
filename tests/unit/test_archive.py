"""Archives of root file systems: what is refused, and unpacking."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from envup.errors import EnvupError
from envup.images import archive as archives


def entry(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0, mode: int = 0o755
) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size, member.mode = kind, link, size, mode
    return member


def make(path: Path, *entries: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for item in entries:
            member, content = item if isinstance(item, tuple) else (item, bytes(item.size))
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A little of what root file systems hold."""
    return make(
        tmp_path / "small.tar",
        entry("./", tarfile.DIRTYPE),
        entry("./bin", tarfile.SYMTYPE, "usr/bin"),
        entry("./usr/bin/", tarfile.DIRTYPE),
        (entry("./usr/bin/su", mode=0o4755), b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\x3e\x00" + bytes(100)),
        entry("./usr/bin/hard", tarfile.LNKTYPE, "./usr/bin/su"),
        entry("./dev/", tarfile.DIRTYPE),
        entry("./dev/null", tarfile.CHRTYPE),
        entry("./dev/fd", tarfile.SYMTYPE, "/proc/self/fd"),
        entry("./etc/", tarfile.DIRTYPE, mode=0o555),
        (entry("./etc/hostname"), b"box\n"),
        entry("./etc/mtab", tarfile.SYMTYPE, "../proc/self/mounts"),
        entry("./run/pipe", tarfile.FIFOTYPE),
    )


def test_a_sound_archive_is_described(small: Path) -> None:
    contents = archives.inspect(small)
    assert (contents.members, contents.size, contents.architecture) == (11, 124, "amd64")


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param((entry("/etc/passwd"),), id="absolute name"),
        pytest.param((entry("../etc/passwd"),), id="leads out"),
        pytest.param((entry("./a/../../b"),), id="leads out from below"),
        pytest.param((entry("a", tarfile.SYMTYPE, "/etc"), entry("a/passwd")), id="below a link"),
        pytest.param((entry("a", tarfile.SYMTYPE, "b"), entry("./a/./b/c")), id="below a link in other words"),
        pytest.param((entry("h", tarfile.LNKTYPE, "/etc/passwd"),), id="hard link to an absolute name"),
        pytest.param((entry("h", tarfile.LNKTYPE, "../etc/passwd"),), id="hard link that leads out"),
        pytest.param(
            (entry("a", tarfile.SYMTYPE, "/etc"), entry("h", tarfile.LNKTYPE, "a/passwd")), id="hard link below a link"
        ),
        pytest.param(
            (entry("a", tarfile.SYMTYPE, "/etc"), entry("b", tarfile.LNKTYPE, "a"), entry("b/passwd")),
            id="below a hard link to a link",
        ),
        pytest.param((entry("sda", tarfile.BLKTYPE),), id="device outside dev"),
        pytest.param((entry("a/dev/sda", tarfile.BLKTYPE),), id="device below another dev"),
        pytest.param((entry(".", tarfile.SYMTYPE, "/etc"),), id="the root as a link"),
        pytest.param((entry("x", b"V"),), id="unknown type"),
    ],
)
def test_a_member_that_could_reach_outside_is_refused(tmp_path: Path, entries: tuple[tarfile.TarInfo, ...]) -> None:
    with pytest.raises(EnvupError, match="refused"):
        archives.inspect(make(tmp_path / "bad.tar", entry("fine"), *entries))


def test_device_nodes_are_refused_where_they_are_not_allowed(small: Path) -> None:
    with pytest.raises(EnvupError, match="device node"):
        archives.inspect(small, devices=False)


@pytest.mark.parametrize("kept", [0, 100, 512, 700, 1024, 2048, 3000, 5000])
def test_an_archive_cut_anywhere_is_an_error(small: Path, kept: int) -> None:
    whole = small.read_bytes()
    assert kept < len(whole.rstrip(b"\0"))
    small.write_bytes(whole[:kept])
    with pytest.raises(EnvupError):
        archives.inspect(small)


def test_an_archive_without_its_end_is_an_error(tmp_path: Path) -> None:
    path = make(tmp_path / "x.tar", (entry("file"), b"x" * 512))
    path.write_bytes(path.read_bytes()[:1024])
    with pytest.raises(EnvupError, match="cut short"):
        archives.inspect(path)


def test_a_damaged_header_in_the_middle_is_not_taken_for_the_end(small: Path) -> None:
    content = bytearray(small.read_bytes())
    with tarfile.open(small) as archive:
        place = archive.getmember("./etc/hostname").offset
    content[place + 10] ^= 0xFF
    small.write_bytes(bytes(content))
    with pytest.raises(EnvupError, match="damaged"):
        archives.inspect(small)


@pytest.mark.parametrize("change", [lambda size: size + 1_000_000, lambda size: 1 << 60, lambda size: -1])
def test_a_size_that_lies_is_an_error(tmp_path: Path, change: Callable[[int], int]) -> None:
    member = entry("file", size=4)
    member.size = change(4)
    header = member.tobuf(tarfile.GNU_FORMAT) if member.size > 0 else _negative(member)
    (tmp_path / "x.tar").write_bytes(header + b"data" + bytes(508 + 10240))
    with pytest.raises(EnvupError):
        archives.inspect(tmp_path / "x.tar")


def _negative(member: tarfile.TarInfo) -> bytes:
    member.size = 0
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 12
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def test_a_sparse_file_larger_than_the_disk_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    with (tmp_path / "tree" / "bomb").open("wb") as file:
        file.truncate(1 << 43)
    subprocess.run(("tar", "-S", "-cf", tmp_path / "x.tar", "-C", tmp_path / "tree", "."), check=True)
    assert (tmp_path / "x.tar").stat().st_size < 100_000
    with pytest.raises(EnvupError, match="more than"):
        archives.inspect(tmp_path / "x.tar")


def test_an_empty_archive_is_an_error(tmp_path: Path) -> None:
    for entries in ((), (entry("./", tarfile.DIRTYPE),)):
        with pytest.raises(EnvupError, match="empty"):
            archives.inspect(make(tmp_path / "x.tar", *entries))


@pytest.mark.parametrize("content", [b"", b"no archive at all\n" * 100, bytes(100)])
def test_what_is_no_archive_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(EnvupError):
        archives.inspect(tmp_path / "x.tar")


def test_too_many_members_are_refused(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_MEMBERS", 5)
    with pytest.raises(EnvupError, match="members"):
        archives.inspect(small)


def test_a_large_archive_is_walked_in_moments(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        for number in range(20_000):
            archive.addfile(entry(f"./usr/share/{number % 100}/file-{number}"))
    begin = time.monotonic()
    assert archives.inspect(path).members == 20_000
    assert time.monotonic() - begin < 10


def test_unpacking_keeps_modes_links_and_leaves_devices_out(small: Path, tmp_path: Path) -> None:
    target = tmp_path / "root"
    archives.unpack(small, target)
    assert stat.S_IMODE((target / "usr/bin/su").stat().st_mode) == 0o4755
    assert (target / "usr/bin/su").stat().st_nlink == 2
    assert os.readlink(target / "etc/mtab") == "../proc/self/mounts"
    assert (target / "etc/hostname").read_text() == "box\n"
    assert stat.S_IMODE((target / "etc").stat().st_mode) == 0o555
    assert list((target / "dev").iterdir()) == []
    assert stat.S_ISFIFO((target / "run/pipe").stat().st_mode)
    (target / "etc").chmod(0o755)


@pytest.fixture
def cut(tmp_path: Path) -> Path:
    """An archive that ends within a file."""
    path = make(tmp_path / "cut.tar", entry("fine"), (entry("large"), bytes(10_000)))
    path.write_bytes(path.read_bytes()[:6000])
    return path


def test_unpacking_leaves_nothing_when_it_fails(cut: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(EnvupError):
        archives.unpack(cut, tmp_path / "there" / "root")
    assert list((tmp_path / "there").iterdir()) == []


def test_unpacking_goes_through_the_prefix_from_beginning_to_end(cut: Path, tmp_path: Path) -> None:
    record = tmp_path / "record"
    prefix = ("/bin/sh", "-c", f'echo "$1" >> {record}; exec "$@"', "sh")
    with pytest.raises(EnvupError):
        archives.unpack(cut, tmp_path / "root", argv_prefix=prefix)
    assert record.read_text().split() == ["mkdir", "tar", "rm"]


def test_attributes_that_steer_overlay_file_systems_are_not_unpacked(tmp_path: Path) -> None:
    member = entry("file")
    member.pax_headers = {"SCHILY.xattr.user.overlay.redirect": "/x", "SCHILY.xattr.user.kept": "yes"}
    archives.unpack(make(tmp_path / "x.tar", member), tmp_path / "root")
    assert os.listxattr(tmp_path / "root" / "file") == ["user.kept"]
