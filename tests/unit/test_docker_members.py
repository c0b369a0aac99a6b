"""A tar stream is watched on its way into a container: its end, its names, its kinds."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import pytest

from envup_docker.members import Members, Refused


def archive(*members: tuple[str, bytes], kind: int = tarfile.PAX_FORMAT, **fields: Any) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=kind) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in fields.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def passed(stream: bytes, piece: int = 1 << 18) -> bytes:
    members = Members(io.BytesIO(stream))
    return b"".join(iter(lambda: members.read(piece), b""))


WHOLE = archive(("a", b"x" * 5000), ("d/" + "long" * 60, b"y"), ("ümlaut", b""))


@pytest.mark.parametrize("piece", [1, 511, 512, 513, 1 << 18])
@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_an_archive_passes_as_it_is(piece: int, kind: int) -> None:
    stream = archive(("a", b"x" * 5000), ("d/" + "long" * 60, b"y"), kind=kind, mtime=1.5)
    assert passed(stream, piece) == stream


def test_every_cut_before_the_end_is_an_error() -> None:
    end = len(WHOLE.rstrip(b"\0")) // 512 * 512 + 512
    for length in (*range(0, end + 1, 512), 1, 100, 5000, end - 1):
        with pytest.raises(Refused):
            passed(WHOLE[:length])
    assert passed(WHOLE[: end + 512])


@pytest.mark.parametrize("stream", [b"this is not a tar archive" * 1000, b"x" * 100, b"\x1f\x8b" + bytes(5000)])
def test_what_is_no_archive_is_an_error(stream: bytes) -> None:
    with pytest.raises(Refused):
        passed(stream)


@pytest.mark.parametrize("name", ["..", "../x", "a/../../x", "a/" + "b" * 200 + "/../x", "ü/../x"])
@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_name_that_leads_out_is_an_error(name: str, kind: int) -> None:
    with pytest.raises(Refused, match="leads out"):
        passed(archive(("fine", b"x" * 1000), (name, b""), kind=kind))


def test_a_hard_link_that_leads_out_is_an_error_and_a_symbolic_one_is_not() -> None:
    with pytest.raises(Refused, match="leads out"):
        passed(archive(("l", b""), type=tarfile.LNKTYPE, linkname="../x"))
    assert passed(archive(("l", b""), type=tarfile.SYMTYPE, linkname="../x"))


def test_an_overridden_name_concerns_one_member_alone() -> None:
    stream = archive(("ü" * 100, b"x"), ("plain", b"y" * 700))
    assert passed(stream) == stream


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_devices_are_refused(kind: bytes) -> None:
    with pytest.raises(Refused, match="device"):
        passed(archive(("null", b""), type=kind))


def test_dots_within_a_name_lead_nowhere() -> None:
    assert passed(archive(("a..b/..c/d..", b"")))


def test_a_damaged_extended_header_is_an_error() -> None:
    stream = bytearray(archive(("ü" * 100, b"")))
    stream[512] = ord("x")
    with pytest.raises(Refused, match="damaged"):
        passed(bytes(stream))
