"""A machine's files on their way to an image, and files that are written whole or not at all."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from envup import outfile, packaging
from envup.errors import EnvupError, UsageError
from envup.images import metadata

FACTS = {"format": 1, "name": "web", "environment": {"LANG": "grüß=dich", "PATH": "/bin"}}
HOSTS = "127.0.0.1\tlocalhost\n# envup begin\n10.0.0.2\tweb\n# envup end\n192.0.2.1\tmine\n"
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000").decode("utf-8", "surrogateescape")


def stream(*files: tuple[str, str], links: dict[str, str] | None = None) -> io.BytesIO:
    """A tar stream of files, and hard links to others."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, text in files:
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.uid = len(text.encode()), 1.5, 12  # type: ignore[assignment]
            member.pax_headers = {"SCHILY.xattr.security.capability": CAPABILITY}
            archive.addfile(member, io.BytesIO(text.encode()))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.LNKTYPE, target
            archive.addfile(member)
    output.seek(0)
    return output


def written(source: io.BytesIO) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    target = io.BytesIO()
    packaging.write(source, target, FACTS)
    target.seek(0)
    with tarfile.open(fileobj=target) as archive:
        found = {}
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            found[member.name] = (member, content.read() if content else b"")
    return found


def test_files_pass_as_they_are() -> None:
    member, content = written(stream(("./srv/file", "content"), ("./srv/" + "long/" * 60 + "name", "")))["./srv/file"]
    assert (content, member.uid, member.mtime) == (b"content", 12, 1.5)
    assert member.pax_headers["SCHILY.xattr.security.capability"] == CAPABILITY


def test_what_makes_a_machine_that_one_does_not_pass() -> None:
    found = written(
        stream(
            ("./etc/hosts", HOSTS), ("./etc/hostname", "web"), ("./etc/machine-id", "0123"), (".dockerenv", ""),
            ("./etc/resolv.conf", "# Written by envup at each start; remove this line to keep your own.\nx"),
            ("dev/null", ""), ("./run/lock", ""), ("./device", "kept"),
        )
    )  # fmt: skip
    assert {name: content for name, (_member, content) in found.items()} == {
        "./etc/hosts": b"127.0.0.1\tlocalhost\n192.0.2.1\tmine\n",
        "./etc/machine-id": b"",
        "./device": b"kept",
    }


def test_a_resolver_of_the_machines_own_passes_and_a_place_to_mount_on_does_not() -> None:
    assert written(stream(("etc/resolv.conf", "nameserver 192.0.2.1\n"), ("etc/hosts", ""))).keys() == {
        "etc/resolv.conf"
    }


def test_a_hard_link_to_what_does_not_pass_is_an_error() -> None:
    with pytest.raises(EnvupError, match="/srv/name is a hard link to /etc/hostname"):
        written(stream(("./etc/hostname", "web"), links={"./srv/name": "./etc/hostname"}))


def test_a_stream_that_is_cut_short_is_an_error() -> None:
    whole = stream(("./srv/file", "content" * 1000)).getvalue()
    with pytest.raises(EnvupError, match="cut short"):
        written(io.BytesIO(whole[:4000]))


def test_an_archive_says_its_variables(tmp_path: Path) -> None:
    with (tmp_path / "image.tar").open("wb") as target:
        packaging.write(stream(("./srv/file", "content")), target, FACTS)
    assert metadata.variables(tmp_path / "image.tar") == FACTS["environment"]


def with_headers(directory: Path, headers: dict[str, str]) -> Path:
    """An archive of one file that says this of itself."""
    file = directory / "image.tar"
    with tarfile.open(file, "w", format=tarfile.PAX_FORMAT, pax_headers=headers) as archive:
        archive.addfile(tarfile.TarInfo("file"))
    return file


@pytest.mark.parametrize("headers", [{}, {"comment": "of somebody else"}])
def test_an_archive_of_another_tool_says_none(tmp_path: Path, headers: dict[str, str]) -> None:
    assert metadata.variables(with_headers(tmp_path, headers)) == {}
    (tmp_path / "none.tar").write_bytes(b"no archive")
    assert metadata.variables(tmp_path / "none.tar") == {}


@pytest.mark.parametrize("said", ["envup {", "envup []", 'envup {"environment": {"A": 1}}', "envup {}"])
def test_what_an_archive_says_must_make_sense(tmp_path: Path, said: str) -> None:
    with pytest.raises(EnvupError, match="is damaged"):
        metadata.variables(with_headers(tmp_path, {"comment": said}))


def test_a_file_gets_its_name_when_it_is_whole(tmp_path: Path) -> None:
    with outfile.opened(str(tmp_path / "file"), force=False) as file:
        file.write(b"content")
        assert not (tmp_path / "file").exists()
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"content")]


@pytest.mark.parametrize("force", [False, True])
def test_after_an_error_there_is_what_was_there_before(tmp_path: Path, force: bool) -> None:
    (tmp_path / "file.gz").write_text("before")
    with pytest.raises(EnvupError, match="broke"), outfile.opened(str(tmp_path / "file.gz"), force=force) as file:
        file.write(b"content")
        raise EnvupError("it broke")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file.gz", "before")]


def test_what_appeared_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(EnvupError, match="appeared meanwhile"), outfile.opened(str(tmp_path / "file"), force=False):
        (tmp_path / "file").write_text("of another")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "of another")]


def test_what_a_symbolic_link_points_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below/file").write_text("before")
    (tmp_path / "link").symlink_to("below/file")
    with outfile.opened(str(tmp_path / "link"), force=True) as file:
        file.write(b"content")
    assert (tmp_path / "link").readlink() == Path("below/file")
    assert [(path.name, path.read_text()) for path in (tmp_path / "below").iterdir()] == [("file", "content")]


@pytest.mark.parametrize("length", [247, 255])
def test_a_name_may_be_as_long_as_the_file_system_takes(tmp_path: Path, length: int) -> None:
    file = tmp_path / ("é" * (length // 2) + "x" * (length % 2))
    outfile.require(str(file), force=False)
    with outfile.opened(str(file), force=False) as stream:
        stream.write(b"content")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(file.name, "content")]


@pytest.mark.parametrize("suffix", [".gz", ".tgz"])
def test_a_file_is_compressed_as_its_name_says(tmp_path: Path, suffix: str) -> None:
    with outfile.opened(str(tmp_path / f"file{suffix}"), force=False) as file:
        file.write(b"content")
    assert gzip.decompress((tmp_path / f"file{suffix}").read_bytes()) == b"content"


def test_standard_output_that_takes_no_more_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "dup", lambda _descriptor: os.open("/dev/full", os.O_WRONLY))
    failing = pytest.raises(EnvupError, match="cannot write standard output: No space left on device")
    with failing as raised, outfile.opened("-", force=False) as file:
        file.write(bytes(100_000))
    assert raised.value.hint == "free some space on that disk"


def test_standard_output_that_was_closed_is_left_to_the_command() -> None:
    with pytest.raises(BrokenPipeError), outfile.opened("-", force=False):
        raise BrokenPipeError


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/null")], ids=["fifo", "device"])
def test_only_regular_files_are_replaced(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "there")
    with pytest.raises(UsageError, match="is no regular file"):
        outfile.require(str(tmp_path / "there"), force=True)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tar.bz2", "compressions"),
        ("a.txz", "compressions"),
        (".", "directory"),
        ("none/a", "no directory"),
        ("file/a", "no directory"),
        ("file", "there already"),
        ("a" * 256, "File name too long"),
        ("loop", "Too many levels of symbolic links"),
    ],
)
def test_names_that_cannot_be_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UsageError, match=text):
        outfile.require(name, force=False)
