"""Files travel both ways as tar streams and arrive as they were."""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from envup.errors import EnvupError
from envup.provider import Instance
from envup.testing.subject import Subject

TIME = 1_600_000_000


@pytest.fixture
def place(subject: Subject, machine: Instance) -> Iterator[str]:
    """An empty directory in the machine."""
    path = subject.shell(machine, "mktemp -d /srv/files.XXXXXX")
    yield path
    subject.shell(machine, f"rm -rf {path}")


def member(name: str, **fields: Any) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.mtime, made.mode = TIME, 0o644
    for key, value in fields.items():
        setattr(made, key, value)
    return made


@contextlib.contextmanager
def stream(*members: tuple[tarfile.TarInfo, bytes]) -> Iterator[IO[bytes]]:
    """A tar stream in a file, at its beginning."""
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for info, content in members:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        file.seek(0)
        yield file


def send(subject: Subject, machine: Instance, place: str, *members: tuple[tarfile.TarInfo, bytes]) -> None:
    with stream(*members) as file:
        subject.provider.send(machine, place, file)


def fetch(subject: Subject, machine: Instance, path: str) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    with tempfile.TemporaryFile() as file:
        subject.provider.fetch(machine, path, file)
        file.seek(0)
        with tarfile.open(fileobj=file) as archive:
            return {one.name: (one, _content(archive, one)) for one in archive}


def _content(archive: tarfile.TarFile, one: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(one) if one.isreg() else None
    return file.read() if file else b""


def test_modes_owners_and_times_are_kept(subject: Subject, machine: Instance, place: str) -> None:
    send(
        subject, machine, place,
        (member("d", type=tarfile.DIRTYPE, mode=0o2750, uid=33, gid=34), b""),
        (member("d/file", mode=0o4711, uid=1000, gid=2000), b"content"),
        (member("d/none", mode=0o000), b""),
    )  # fmt: skip
    shown = subject.shell(machine, f"cd {place}; stat -c '%n %a %u:%g %Y' d d/file d/none; cat d/file")
    assert shown == (f"d 2750 33:34 {TIME}\nd/file 4711 1000:2000 {TIME}\nd/none 0 0:0 {TIME}\ncontent")


def test_links_are_kept(subject: Subject, machine: Instance, place: str) -> None:
    send(
        subject, machine, place,
        (member("file"), b"x"),
        (member("hard", type=tarfile.LNKTYPE, linkname="file"), b""),
        (member("soft", type=tarfile.SYMTYPE, linkname="../no where"), b""),
        (member("pipe", type=tarfile.FIFOTYPE), b""),
    )  # fmt: skip
    assert subject.shell(machine, f"cd {place}; stat -c %h file; readlink soft; stat -c %F pipe; stat -c %Y soft") == (
        f"2\n../no where\nfifo\n{TIME}"
    )


def test_a_round_trip_changes_nothing(subject: Subject, machine: Instance, place: str) -> None:
    name = "nämé \n \udcff" + "x" * 150
    members = [
        (member("top", type=tarfile.DIRTYPE, mode=0o700, uid=5, gid=6), b""),
        (member(f"top/{name}", mode=0o640, uid=7, gid=8), os.urandom(100_000)),
        (member("top/empty"), b""),
        (member("top/link", type=tarfile.SYMTYPE, linkname=name), b""),
    ]
    send(subject, machine, place, *members)
    back = fetch(subject, machine, f"{place}/top")
    assert list(back) == sorted(info.name for info, _ in members)
    for info, content in members:
        found, data = back[info.name]
        assert (found.type, found.uid, found.gid, data) == (info.type, info.uid, info.gid, content)
        assert (found.mtime, found.linkname) == (TIME, info.linkname)
        assert found.issym() or found.mode == info.mode


def test_fractions_of_a_second_are_kept(subject: Subject, machine: Instance, place: str) -> None:
    subject.shell(machine, f"touch -d '2020-01-02 03:04:05.123456789 UTC' {place}/f")
    with tempfile.TemporaryFile() as file:
        subject.provider.fetch(machine, f"{place}/f", file)
        file.seek(0)
        subject.shell(machine, f"rm {place}/f")
        subject.provider.send(machine, place, file)
    assert subject.shell(machine, f"stat -c %.9Y {place}/f") == "1577934245.123456789"


def test_extended_attributes_are_kept(subject: Subject, machine: Instance, place: str) -> None:
    before = len(subject.events)
    value = "t\xe9xt"
    send(subject, machine, place, (member("f", pax_headers={"SCHILY.xattr.user.note": value}), b""))
    back, _content = fetch(subject, machine, f"{place}/f")["f"]
    assert back.pax_headers["SCHILY.xattr.user.note"] == value
    assert not [event for event in subject.events[before:] if event.kind == "warning"]


def test_hard_links_are_fetched_once(subject: Subject, machine: Instance, place: str) -> None:
    subject.shell(machine, f"mkdir {place}/t; cd {place}/t; head -c 100000 /dev/zero > a; ln a b")
    back = fetch(subject, machine, f"{place}/t")
    assert back["t/b"][0].islnk()
    assert back["t/b"][0].linkname == "t/a"


def test_a_link_is_fetched_as_a_link(subject: Subject, machine: Instance, place: str) -> None:
    subject.shell(machine, f"ln -s /etc {place}/l")
    assert list(fetch(subject, machine, f"{place}/l")) == ["l"]


def test_names_begin_with_the_last_part(subject: Subject, machine: Instance, place: str) -> None:
    subject.shell(machine, f"mkdir -p {place}/a/b; touch {place}/a/b/c")
    assert list(fetch(subject, machine, f"{place}/a/")) == ["a", "a/b", "a/b/c"]


def test_an_existing_file_is_replaced_and_a_directory_kept(subject: Subject, machine: Instance, place: str) -> None:
    subject.shell(
        machine, f"cd {place}; mkdir d; echo keep > d/other; echo old > d/f; ln -s d l; ln -s /etc/hostname s"
    )
    hostname = subject.shell(machine, "cat /etc/hostname")
    send(
        subject, machine, place,
        (member("d", type=tarfile.DIRTYPE, mode=0o755), b""),
        (member("d/f"), b"new\n"),
        (member("l", type=tarfile.DIRTYPE, mode=0o755), b""),
        (member("l/g"), b"through\n"),
        (member("s"), b"no longer a link\n"),
    )  # fmt: skip
    assert subject.shell(machine, f"cd {place}; cat d/other d/f d/g; test -L l; test ! -L s") == "keep\nnew\nthrough"
    assert subject.shell(machine, "cat /etc/hostname") == hostname


def test_a_stream_that_is_cut_short_is_an_error(subject: Subject, machine: Instance, place: str) -> None:
    with stream((member("a"), b"x" * 5000), (member("b"), b"y")) as file:
        whole = file.read()
    for length in (0, 100, 512, 3000, 512 + 5120, 512 + 5120 + 512):
        with tempfile.TemporaryFile() as cut:
            cut.write(whole[:length])
            cut.seek(0)
            with pytest.raises(EnvupError):
                subject.provider.send(machine, place, cut)


def test_a_stream_that_is_no_archive_is_an_error(subject: Subject, machine: Instance, place: str) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"this is not a tar archive" * 1000)
        file.seek(0)
        with pytest.raises(EnvupError):
            subject.provider.send(machine, place, file)


@pytest.mark.parametrize("name", ["../escape", "a/../../escape"])
def test_a_name_that_leads_out_is_an_error(subject: Subject, machine: Instance, place: str, name: str) -> None:
    with pytest.raises(EnvupError):
        send(subject, machine, place, (member(name), b""))
    assert subject.run(machine, "ls", f"{place}/../escape").returncode != 0


def test_links_in_the_machine_lead_to_the_machine(subject: Subject, machine: Instance, place: str) -> None:
    mark = f"envup-escape-{os.getpid()}"
    subject.shell(machine, f"ln -s /tmp {place}/out")
    send(subject, machine, f"{place}/out", (member(mark), b"inside"))
    assert not (Path("/tmp") / mark).exists()
    assert subject.shell(machine, f"cat /tmp/{mark}; rm /tmp/{mark}") == "inside"


def test_missing_paths_are_errors_that_name_them(subject: Subject, machine: Instance) -> None:
    for attempt in (lambda: send(subject, machine, "/no/where"), lambda: fetch(subject, machine, "/no/where")):
        with pytest.raises(EnvupError) as caught:
            attempt()
        assert "/no/where" in caught.value.details


def test_a_file_is_no_directory_to_send_into(subject: Subject, machine: Instance, place: str) -> None:
    subject.shell(machine, f"echo x > {place}/file")
    with pytest.raises(EnvupError):
        send(subject, machine, f"{place}/file", (member("f"), b"y"))
    assert subject.shell(machine, f"cat {place}/file") == "x"


def test_where_nothing_may_be_written_is_an_error(subject: Subject, machine: Instance) -> None:
    for directory in ("/sys/kernel", "/proc/sys/kernel"):
        with pytest.raises(EnvupError) as caught:
            send(subject, machine, directory, (member("new"), b"x"))
        assert caught.value.details


def test_an_empty_archive_changes_nothing(subject: Subject, machine: Instance, place: str) -> None:
    send(subject, machine, place)
    assert subject.shell(machine, f"ls -A {place}") == ""


def test_a_reader_that_goes_away_is_an_error(subject: Subject, machine: Instance, place: str) -> None:
    subject.shell(machine, f"head -c 5000000 /dev/zero > {place}/big")
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe, pytest.raises(EnvupError):
        subject.provider.fetch(machine, f"{place}/big", pipe)


def test_many_files_arrive(subject: Subject, machine: Instance, place: str) -> None:
    send(subject, machine, place, *((member(f"d{number % 10}/f{number}"), b"%d" % number) for number in range(2000)))
    assert subject.shell(machine, f"cd {place}; find . -type f | wc -l; cat d7/f1777") == "2000\n1777"
    assert len(fetch(subject, machine, place)) == 2011


def test_a_full_disk_is_an_error(subject: Subject, machine: Instance) -> None:
    rooms = subject.shell(machine, "df --output=avail,target /dev /dev/shm | tail -n +2").splitlines()
    room, directory = min((int(line.split()[0]), line.split()[1]) for line in rooms)
    assert room < 1 << 20, "no file system of the machine is smaller than 1 GiB"
    left = min(room, 1 << 12)
    subject.shell(machine, f"head -c {room - left}K /dev/zero >{directory}/filler")
    try:
        with pytest.raises(EnvupError) as caught:
            send(subject, machine, directory, (member("big"), bytes((left + 64) << 10)))
    finally:
        subject.shell(machine, f"rm -f {directory}/big {directory}/filler")
    assert "space" in caught.value.details


def test_a_pipe_serves_as_stream(subject: Subject, machine: Instance, place: str) -> None:
    import threading

    reader, writer = os.pipe()
    with stream((member("f"), b"z" * 3_000_000)) as file:
        data = file.read()

    def feed() -> None:
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(data)

    thread = threading.Thread(target=feed)
    thread.start()
    with os.fdopen(reader, "rb") as pipe:
        subject.provider.send(machine, place, pipe)
    thread.join()
    assert subject.shell(machine, f"wc -c < {place}/f") == "3000000"
