"""The image sources tarball and directory."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import http.server
import io
import lzma
import os
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from envup import children
from envup.errors import EnvupError, InterruptedByUser
from envup.events import silent
from envup.image import FetchContext
from envup.images import archive as archives
from envup.images import compression
from envup.images.sources.directory import Directory
from envup.images.sources.tarball import Tarball


def rootfs() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for number in range(50):
            member = tarfile.TarInfo(f"./etc/file-{number}")
            member.size = 3000
            archive.addfile(member, io.BytesIO(hashlib.sha256(b"%d" % number).hexdigest().encode() * 47))
    return buffer.getvalue()


ROOTFS = rootfs()
SERVED = gzip.compress(ROOTFS)
GOOD = hashlib.sha256(SERVED).hexdigest()


def zstd(data: bytes) -> bytes:
    return subprocess.run(("zstd", "-q", "-c"), input=data, stdout=subprocess.PIPE, check=True).stdout


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd,
}


@pytest.fixture
def context(tmp_path: Path) -> FetchContext:
    (tmp_path / "scratch").mkdir()
    return FetchContext(tmp_path / "scratch", silent)


def fetch(options: dict[str, Any], context: FetchContext, tmp_path: Path) -> bytes:
    Tarball().fetch(options, tmp_path / "out.tar", context)
    return (tmp_path / "out.tar").read_bytes()


@pytest.mark.parametrize("packer", PACKERS)
def test_every_compression_is_told_by_its_content(packer: str, context: FetchContext, tmp_path: Path) -> None:
    (tmp_path / "misleading.txt").write_bytes(PACKERS[packer](ROOTFS))
    assert fetch({"tarball": str(tmp_path / "misleading.txt")}, context, tmp_path) == ROOTFS


@pytest.mark.parametrize("packer", [name for name in PACKERS if name != "plain"])
def test_a_compressed_archive_cut_short_is_an_error(packer: str, context: FetchContext, tmp_path: Path) -> None:
    whole = PACKERS[packer](ROOTFS)
    (tmp_path / "in").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EnvupError):
        fetch({"tarball": str(tmp_path / "in")}, context, tmp_path)
        archives.inspect(tmp_path / "out.tar")


@pytest.mark.parametrize("packer", [name for name in PACKERS if name != "plain"])
def test_a_damaged_compressed_archive_is_an_error(packer: str, context: FetchContext, tmp_path: Path) -> None:
    data = bytearray(PACKERS[packer](ROOTFS))
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    (tmp_path / "in").write_bytes(bytes(data))
    with pytest.raises(EnvupError):
        fetch({"tarball": str(tmp_path / "in")}, context, tmp_path)


def test_a_missing_zstd_names_the_package(
    context: FetchContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").write_bytes(zstd(ROOTFS))
    monkeypatch.setattr(compression.tools, "search_path", lambda: str(tmp_path))
    with pytest.raises(EnvupError) as caught:
        fetch({"tarball": str(tmp_path / "in")}, context, tmp_path)
    assert caught.value.hint == "run: apt-get install zstd"


def test_the_checksum_of_a_path_is_held(context: FetchContext, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(ROOTFS)
    good = hashlib.sha256(ROOTFS).hexdigest()
    assert fetch({"tarball": str(tmp_path / "in"), "sha256": good.upper()}, context, tmp_path) == ROOTFS
    (tmp_path / "out.tar").unlink()
    with pytest.raises(EnvupError, match="checksum") as caught:
        fetch({"tarball": str(tmp_path / "in"), "sha256": "0" * 64}, context, tmp_path)
    assert good in caught.value.details
    assert not (tmp_path / "out.tar").exists()


def test_the_key_of_a_path_follows_the_file(tmp_path: Path) -> None:
    path, options = tmp_path / "in", {"tarball": str(tmp_path / "in")}
    path.write_bytes(b"one")
    before = Tarball().key(options)
    assert Tarball().key(options) == before
    path.write_bytes(b"other")
    assert Tarball().key(options) != before
    path.unlink()
    with pytest.raises(EnvupError, match="No such file"):
        Tarball().key(options)
    assert Tarball().key({**options, "sha256": "0" * 64}) == {}


@pytest.fixture
def server() -> Iterator[str]:
    """A web server with good, redirected, missing and lying answers; its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", "/good")
                self.end_headers()
            elif self.path in ("/good", "/short"):
                self.send_response(200)
                self.send_header("Content-Length", str(len(SERVED)))
                self.end_headers()
                self.wfile.write(SERVED if self.path == "/good" else SERVED[:1000])
            elif self.path == "/file":
                self.send_response(302)
                self.send_header("Location", "file:///etc/passwd")
                self.end_headers()
            else:
                self.send_error(404)

        def log_message(self, format: str, *args: Any) -> None:
            return None

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["good", "moved"])
def test_a_url_is_downloaded_and_checked(server: str, path: str, context: FetchContext, tmp_path: Path) -> None:
    assert fetch({"tarball": f"{server}/{path}", "sha256": GOOD}, context, tmp_path) == ROOTFS


@pytest.mark.parametrize(
    ("path", "says"), [("missing", "404"), ("short", "ended after 1000 of"), ("file", "not allowed|unknown url")]
)
def test_a_server_that_fails_is_told(server: str, path: str, says: str, context: FetchContext, tmp_path: Path) -> None:
    with pytest.raises(EnvupError, match=says):
        fetch({"tarball": f"{server}/{path}", "sha256": GOOD}, context, tmp_path)


def test_a_download_that_does_not_fit_its_checksum_is_not_used(
    server: str, context: FetchContext, tmp_path: Path
) -> None:
    with pytest.raises(EnvupError, match="checksum"):
        fetch({"tarball": f"{server}/good", "sha256": "1" * 64}, context, tmp_path)
    assert not (tmp_path / "out.tar").exists()


def test_a_url_without_checksum_is_refused(context: FetchContext, tmp_path: Path) -> None:
    with pytest.raises(EnvupError, match="needs a checksum"):
        fetch({"tarball": "http://127.0.0.1:9/x"}, context, tmp_path)


def test_a_server_that_is_not_there_is_told(context: FetchContext, tmp_path: Path) -> None:
    with pytest.raises(EnvupError, match="refused"):
        fetch({"tarball": "http://127.0.0.1:9/x", "sha256": GOOD}, context, tmp_path)


def test_an_interrupt_ends_a_download(
    server: str, context: FetchContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "cancelled", lambda: True)
    with pytest.raises(InterruptedByUser):
        fetch({"tarball": f"{server}/good", "sha256": GOOD}, context, tmp_path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name in ("etc", "usr/bin", "dev"):
        (root / name).mkdir(parents=True)
    (root / "etc/hostname").write_text("box\n")
    (root / "etc/link").symlink_to("hostname")
    (root / "usr/bin/a").write_text("#!/bin/sh\n")
    (root / "usr/bin/a").chmod(0o4755)
    (root / "usr/bin/b").hardlink_to(root / "usr/bin/a")
    (root / "dev/left-out").write_text("")
    os.setxattr(root / "etc/hostname", "user.mark", b"kept")
    return root


def test_a_directory_is_packed_the_same_way_each_time(tree: Path, context: FetchContext, tmp_path: Path) -> None:
    for name in ("one", "two"):
        Directory().fetch({"directory": str(tree)}, tmp_path / name, context)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_packed_directory_comes_back_as_it_was(tree: Path, context: FetchContext, tmp_path: Path) -> None:
    Directory().fetch({"directory": str(tree)}, tmp_path / "x.tar", context)
    archives.inspect(tmp_path / "x.tar", devices=False)
    with tarfile.open(tmp_path / "x.tar") as archive:
        assert {(member.uid, member.gid) for member in archive} == {(0, 0)}
        assert "./dev/left-out" not in archive.getnames()
    archives.unpack(tmp_path / "x.tar", tmp_path / "copy")
    assert (tmp_path / "copy/usr/bin/a").stat().st_mode & 0o7777 == 0o4755
    assert (tmp_path / "copy/usr/bin/a").stat().st_nlink == 2
    assert os.readlink(tmp_path / "copy/etc/link") == "hostname"
    assert os.getxattr(tmp_path / "copy/etc/hostname", "user.mark") == b"kept"


def test_the_key_of_a_directory_follows_what_is_in_it(tree: Path) -> None:
    options = {"directory": str(tree)}
    changes: list[Callable[[], object]] = [
        lambda: (tree / "etc/hostname").write_text("other\n"),
        lambda: (tree / "etc/hostname").chmod(0o600),
        lambda: (tree / "etc/new").symlink_to("x"),
        lambda: (tree / "etc/new").unlink(),
    ]
    keys = [Directory().key(options)]
    assert Directory().key(options) == keys[0]
    for change in changes:
        change()
        keys.append(Directory().key(options))
    assert len({str(key) for key in keys}) == len(keys)


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EnvupError, match="does not exist"):
        Directory().key({"directory": str(tmp_path / "none")})
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvupError, match="not a directory"):
        Directory().key({"directory": str(tmp_path / "file")})
