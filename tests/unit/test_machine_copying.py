"""Copying between the host and a machine: names by cp's rules, owners, hostile streams."""

from __future__ import annotations

import errno
import io
import os
import socket
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from local_provider import Bench

from envup import copying
from envup.errors import EnvupError
from envup.provider import Instance


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    (tmp_path / "work").mkdir()
    bench = Bench(tmp_path / "work")
    yield bench
    bench.close()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory of the host with a bit of everything."""
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "file").write_text("content")
    (tree / "sub" / "file").chmod(0o640)
    (tree / "sub" / "hard").hardlink_to(tree / "sub" / "file")
    (tree / "link").symlink_to("/somewhere/else")
    os.utime(tree / "sub" / "file", (1_000_000_000, 1_000_000_000))
    (tree / "sub").chmod(0o750)
    return tree


def check_copy(copy: Path) -> None:
    assert (copy / "sub" / "file").read_text() == "content"
    status = (copy / "sub" / "file").stat()
    assert stat.S_IMODE(status.st_mode) == 0o640 and status.st_mtime == 1_000_000_000 and status.st_nlink == 2
    assert stat.S_IMODE((copy / "sub").stat().st_mode) == 0o750
    assert os.readlink(copy / "link") == "/somewhere/else"


@pytest.fixture(params=["send", "fetch"])
def way(request: pytest.FixtureRequest, bench: Bench) -> object:
    """Copies by name; the machine is the host, so both ways can be held to the same rules."""
    if request.param == "send":
        return lambda source, target: copying.copy_into(bench.machine, source, target)
    return lambda source, target: copying.copy_out(bench.machine, source, target)


def test_a_file_takes_the_name_of_a_target_that_is_not_there(way: object, tree: Path, tmp_path: Path) -> None:
    way(f"{tree}/sub/file", f"{tmp_path}/new")  # type: ignore[operator]
    assert (tmp_path / "new").read_text() == "content"


def test_a_file_goes_into_a_directory_that_is_there(way: object, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir(mode=0o711)
    before = (tmp_path / "there").stat().st_mode
    way(f"{tree}/sub/file", f"{tmp_path}/there")  # type: ignore[operator]
    assert (tmp_path / "there" / "file").read_text() == "content"
    assert (tmp_path / "there").stat().st_mode == before


def test_a_trailing_slash_makes_the_directories_to_go_into(way: object, tree: Path, tmp_path: Path) -> None:
    way(f"{tree}/sub/file", f"{tmp_path}/a/b/")  # type: ignore[operator]
    assert (tmp_path / "a" / "b" / "file").read_text() == "content"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o755


def test_a_file_replaces_a_file(way: object, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "old").write_text("a longer old content")
    way(f"{tree}/sub/file", f"{tmp_path}/old")  # type: ignore[operator]
    assert (tmp_path / "old").read_text() == "content"


def test_a_directory_becomes_the_target_or_goes_into_it(way: object, tree: Path, tmp_path: Path) -> None:
    way(str(tree), f"{tmp_path}/p/copy")  # type: ignore[operator]
    check_copy(tmp_path / "p" / "copy")
    way(str(tree), f"{tmp_path}/p/copy")  # type: ignore[operator]
    check_copy(tmp_path / "p" / "copy" / "tree")


def test_the_contents_of_a_directory_are_merged_into_the_target(way: object, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir(mode=0o700)
    (tmp_path / "there" / "kept").write_text("kept")
    way(f"{tree}/.", f"{tmp_path}/there")  # type: ignore[operator]
    check_copy(tmp_path / "there")
    assert (tmp_path / "there" / "kept").read_text() == "kept"
    assert stat.S_IMODE((tmp_path / "there").stat().st_mode) == 0o700


def test_names_arrive_whatever_they_hold(way: object, tmp_path: Path) -> None:
    names = ["two words", "new\nline", "quote'\"", "-dash", "ü", "x" * 200, os.fsdecode(b"latin\xfc")]
    (tmp_path / "odd").mkdir()
    for name in names:
        (tmp_path / "odd" / name).write_text(repr(name))
    way(f"{tmp_path}/odd", f"{tmp_path}/even")  # type: ignore[operator]
    assert {path.name: path.read_text() for path in (tmp_path / "even").iterdir()} == {
        name: repr(name) for name in names
    }


def test_a_source_that_is_missing_is_an_error_that_leaves_nothing(way: object, tmp_path: Path) -> None:
    with pytest.raises(EnvupError):
        way(f"{tmp_path}/nothing", f"{tmp_path}/a/b")  # type: ignore[operator]
    assert not (tmp_path / "a").exists()


def test_what_is_in_the_way_is_an_error(bench: Bench, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for source, target in ((tree, "file"), (tree / "sub" / "file", "file/"), (tree / "sub" / "file", "file/x")):
        with pytest.raises(EnvupError, match="not a directory"):
            bench.machine.send(source, f"{tmp_path}/{target}")
    assert (tmp_path / "file").read_text() == ""


def test_parents_that_are_links_to_directories_are_followed_in_the_machine(
    bench: Bench, tree: Path, tmp_path: Path
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "alias").symlink_to("real")
    bench.machine.send(tree / "sub" / "file", f"{tmp_path}/alias/x/y")
    assert (tmp_path / "real" / "x" / "y").read_text() == "content"
    assert (tmp_path / "alias").is_symlink()


def members(bench: Bench) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(bench.provider.archives[-1])) as archive:
        return {member.name: member for member in archive}


def test_owner_group_and_mode_are_resolved_in_the_machine(bench: Bench, tree: Path, tmp_path: Path) -> None:
    bench.machine.send(tree, f"{tmp_path}/made/copy", owner="app", group="web", mode=0o640)
    sent = members(bench)
    assert (sent["made"].uid, sent["made"].gid, sent["made"].mode) == (0, 0, 0o755)
    assert {(sent[name].uid, sent[name].gid) for name in sent if name != "made"} == {(1234, 77)}
    assert sent["made/copy/sub/file"].mode == 0o640 and sent["made/copy/sub"].mode == 0o750


@pytest.mark.parametrize(
    ("owner", "group", "numbers"),
    [("app", None, (1234, 1235)), ("1234", None, (1234, 1235)), ("99", None, (99, 0)), ("0", "5", (0, 5))],
)
def test_an_owner_brings_the_own_group(
    bench: Bench, tree: Path, tmp_path: Path, owner: str, group: str | None, numbers: tuple[int, int]
) -> None:
    bench.machine.send(tree / "sub" / "file", f"{tmp_path}/x", owner=owner, group=group)
    assert (members(bench)["x"].uid, members(bench)["x"].gid) == numbers


@pytest.mark.parametrize("who", [{"owner": "nobody-here"}, {"group": "nobody-here"}])
def test_an_unknown_owner_is_an_error(bench: Bench, tree: Path, tmp_path: Path, who: dict[str, str]) -> None:
    with pytest.raises(EnvupError, match="nobody-here"):
        bench.machine.send(tree, f"{tmp_path}/x", **who)
    assert not (tmp_path / "x").exists()


def test_what_belongs_to_the_caller_becomes_roots(bench: Bench, tree: Path, tmp_path: Path) -> None:
    bench.machine.send(tree / "sub" / "file", f"{tmp_path}/x")
    assert (members(bench)["x"].uid, members(bench)["x"].gid) == (0, 0)


def test_a_socket_is_left_out_and_told(bench: Bench, tree: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tree / "sock"))
        bench.machine.send(tree, f"{tmp_path}/x")
    check_copy(tmp_path / "x")
    assert any("sock" in text for text in bench.texts("warning"))


def test_a_file_that_cannot_be_read_to_its_end_is_an_error(
    bench: Bench, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path, name: str, _selection: object) -> Iterator[tuple[Path, str]]:
        yield path, name
        raise OSError(errno.EIO, "Input/output error", f"{path}/bad")

    monkeypatch.setattr("envup.tarpipe.walk", failing)
    with pytest.raises(EnvupError, match="bad: Input/output error"):
        bench.machine.send(tree, f"{tmp_path}/x")


def test_a_written_file_has_content_mode_and_owner(bench: Bench, tmp_path: Path) -> None:
    bench.machine.write(f"{tmp_path}/script", b"text", owner="app", mode=0o700)
    assert (tmp_path / "script").read_bytes() == b"text"
    assert (members(bench)["script"].uid, members(bench)["script"].mode) == (1234, 0o700)


def test_a_raw_stream_goes_both_ways(bench: Bench, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "out.tar").open("w") as output:
        monkeypatch.setattr("sys.stdout", output)
        copying.copy_out(bench.machine, str(tree), "-")
    (tmp_path / "there").mkdir()
    with (tmp_path / "out.tar").open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        copying.copy_into(bench.machine, "-", f"{tmp_path}/there")
    check_copy(tmp_path / "there" / "tree")


def hostile(bench: Bench, monkeypatch: pytest.MonkeyPatch, *entries: tarfile.TarInfo, cut: int = 0) -> None:
    """Let the machine answer every fetch with these members; each regular one holds the word `evil`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for entry in entries:
            entry.size = 4 if entry.isreg() else 0
            archive.addfile(entry, io.BytesIO(b"evil"))
    content = buffer.getvalue()

    def fetch(_instance: Instance, _path: str, archive: BinaryIO) -> None:
        archive.write(content[: len(content) - cut])

    monkeypatch.setattr(bench.provider, "fetch", fetch)


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode = kind, link, mode
    return member


def test_nothing_is_written_outside_the_target(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("safe")
    directory = entry("x", tarfile.DIRTYPE)
    attacks = [
        (entry("x/../../outside/victim"),),
        (entry(str(outside / "victim")),),
        (entry("other/victim"),),
        (directory, entry("x/link", tarfile.SYMTYPE, str(outside)), entry("x/link/victim")),
        (directory, entry("x/victim", tarfile.SYMTYPE, str(outside / "victim")), entry("x/victim")),
        (directory, entry("x/hard", tarfile.LNKTYPE, "../outside/victim"), entry("x/hard")),
        (directory, entry("x/hard", tarfile.LNKTYPE, str(outside / "victim"))),
        (directory, entry("x/hard", tarfile.LNKTYPE, "x/not-before")),
        (directory, entry("x/node", tarfile.CHRTYPE)),
        (entry("x", tarfile.SYMTYPE, str(outside)), entry("x/victim")),
    ]
    for number, attack in enumerate(attacks):
        hostile(bench, monkeypatch, *attack)
        with pytest.raises(EnvupError, match="refused"):
            bench.machine.fetch("/x", tmp_path / "target" / str(number))
    assert (outside / "victim").read_text() == "safe"
    assert [path.name for path in outside.iterdir()] == ["victim"]


def test_a_link_on_the_host_inside_the_target_is_not_followed(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "sub").symlink_to(outside)
    for attack in ((entry("x/sub", tarfile.DIRTYPE), entry("x/sub/evil")), (entry("x/sub/evil"),)):
        hostile(bench, monkeypatch, *attack)
        with pytest.raises(EnvupError, match="symbolic link"):
            bench.machine.fetch("/x", tmp_path)
    assert not list(outside.iterdir())


def test_set_id_bits_do_not_arrive_on_the_host(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile(bench, monkeypatch, entry("x", mode=0o6755))
    bench.machine.fetch("/x", tmp_path / "got")
    assert stat.S_IMODE((tmp_path / "got").stat().st_mode) == 0o755


def test_a_read_only_directory_arrives_with_what_is_in_it(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile(bench, monkeypatch, entry("x", tarfile.DIRTYPE, mode=0o555), entry("x/file"))
    bench.machine.fetch("/x", tmp_path / "got")
    assert stat.S_IMODE((tmp_path / "got").stat().st_mode) == 0o555
    assert (tmp_path / "got" / "file").read_text() == "evil"
    (tmp_path / "got").chmod(0o755)


def test_a_stream_that_is_cut_short_is_an_error(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile(bench, monkeypatch, entry("x"), cut=10240 - 514)
    with pytest.raises(EnvupError, match="cut short"):
        bench.machine.fetch("/x", tmp_path / "got")
    assert not (tmp_path / "got").exists()
