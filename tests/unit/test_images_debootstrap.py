"""The image source debootstrap: which tool is called how, and what is said when none can be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from envup.errors import EnvupError
from envup.events import Event, silent
from envup.image import FetchContext
from envup.images import aptsources, tools
from envup.images import archive as archives
from envup.images.sources import debootstrap
from envup.images.sources.debootstrap import Debootstrap

DEB822 = """
Types: deb deb-src
# a comment
URIs: http://mirror.test/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main
 contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: https://security.test/debian-security
Suites: bookworm-security
Components: main

Types: deb
URIs: http://off.test/debian
Suites: bookworm
Components: main
Enabled: no
"""

ONE_LINE = """
# deb http://comment.test/debian bookworm main
deb http://mirror.test/debian bookworm main contrib  # behind
deb-src http://source.test/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/third.gpg] https://third.test/debian bookworm main
deb https://docker.test/linux/debian bookworm stable
deb cdrom:[Debian]/ bookworm main
deb http://security.test/debian-security bookworm-security main
"""


def host(root: Path, *, name: str, text: str, distribution: str = "debian") -> Path:
    (root / "etc/apt/sources.list.d").mkdir(parents=True)
    (root / "etc/os-release").write_text(f'ID={distribution}\nVERSION_CODENAME="bookworm"\n')
    (root / "etc/apt" / name).write_text(text)
    return root


def test_the_hosts_own_archive_is_read_from_deb822_files(tmp_path: Path) -> None:
    root = host(tmp_path, name="sources.list.d/debian.sources", text=DEB822)
    assert aptsources.mirrors("debian", "bookworm", ("main",), root) == (
        "deb http://mirror.test/debian bookworm main",
        "deb http://mirror.test/debian bookworm-updates main",
        "deb https://security.test/debian-security bookworm-security main",
    )


def test_the_hosts_own_archive_is_read_from_one_line_files(tmp_path: Path) -> None:
    root = host(tmp_path, name="sources.list", text=ONE_LINE)
    assert aptsources.mirrors("debian", "trixie", ("main", "contrib"), root) == (
        "deb http://mirror.test/debian trixie main contrib",
        "deb http://security.test/debian-security trixie-security main contrib",
    )


def test_a_rolling_suite_has_no_security_beside_it(tmp_path: Path) -> None:
    root = host(tmp_path, name="sources.list", text=ONE_LINE)
    assert aptsources.mirrors("debian", "sid", ("main",), root) == ("deb http://mirror.test/debian sid main",)


def test_another_distributions_archive_is_not_taken(tmp_path: Path) -> None:
    root = host(tmp_path, name="sources.list", text=ONE_LINE)
    assert aptsources.mirrors("ubuntu", "noble", ("main",), root) == ()
    assert aptsources.mirrors("debian", "bookworm", ("main",), tmp_path / "nowhere") == ()


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of tools that is all there is; put scripts there with `tool`."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setattr(tools, "search_path", lambda: str(programs))
    monkeypatch.setattr(debootstrap, "_host_mirrors", lambda *_: ())
    monkeypatch.setattr(debootstrap, "_foreign_keyring", lambda *_: "")
    return programs


def tool(programs: Path, name: str, body: str) -> None:
    (programs / name).write_text(f"#!/bin/sh\nexport PATH={os.defpath}\n{body}\n")
    (programs / name).chmod(0o755)


def fetch(tmp_path: Path, events: list[Event] | None = None, **options: object) -> str:
    (tmp_path / "work").mkdir(exist_ok=True)
    context = FetchContext(tmp_path / "work", events.append if events is not None else silent)
    return Debootstrap().fetch({"suite": "bookworm", **options}, tmp_path / "out.tar", context).architecture


def as_root(monkeypatch: pytest.MonkeyPatch, *, root: bool) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)


def test_mmdebstrap_gets_the_whole_recipe(fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_root(monkeypatch, root=True)
    tool(fake, "mmdebstrap", 'printf "%s\\n" "$@"; echo "epoch $SOURCE_DATE_EPOCH"')
    tool(fake, "arch-test", "exit 0")
    events: list[Event] = []
    options = {"architecture": "i386", "components": ["main", "contrib"], "include": ["curl"], "variant": "apt"}
    assert fetch(tmp_path, events, mirror="https://mirror.test/x", keyring="/k.gpg", **options) == "i386"
    lines = "".join(event.text for event in events if event.kind == "output").splitlines()
    assert lines[:-1] == [
        "--mode=root",
        "--format=tar",
        "--variant=apt",
        "--architectures=i386",
        "--components=main,contrib",
        "--include=curl,ca-certificates",
        "--keyring=/k.gpg",
        "bookworm",
        str(tmp_path / "out.tar"),
        "https://mirror.test/x",
    ]
    assert int(lines[-1].split()[1]) % 86400 == 0


def test_another_architecture_needs_the_program_that_mmdebstrap_tests_it_with(
    fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_root(monkeypatch, root=True)
    tool(fake, "mmdebstrap", "exit 0")
    with pytest.raises(EnvupError, match="arch-test") as caught:
        fetch(tmp_path, [], mirror="http://mirror.test/x", keyring="/k.gpg", architecture="i386")
    assert caught.value.hint == "run: apt-get install arch-test"


def test_debootstrap_is_used_where_mmdebstrap_is_missing(
    fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_root(monkeypatch, root=True)
    lines = ("deb http://mirror.test/debian bookworm main", "deb http://mirror.test/debian bookworm-updates main")
    monkeypatch.setattr(debootstrap, "_host_mirrors", lambda *_: lines)
    monkeypatch.setattr(debootstrap.tools, "mortal", lambda argv: tuple(argv)[3:] if argv[0] == "unshare" else argv)
    body = """for word do [ "$root" ] && mirror=$word; [ -z "$root" ] && case $word in /*) root=$word;; esac; done
    mkdir -p "$root/etc/apt" "$root/var/cache/apt/archives" "$root/bin"
    echo "from $mirror" > "$root/etc/origin"; echo x > "$root/var/cache/apt/archives/x.deb" """
    tool(fake, "debootstrap", body)
    fetch(tmp_path)
    archives.unpack(tmp_path / "out.tar", tmp_path / "root")
    assert (tmp_path / "root/etc/origin").read_text() == "from http://mirror.test/debian\n"
    assert (tmp_path / "root/etc/apt/sources.list").read_text().splitlines() == list(lines)
    assert list((tmp_path / "root/var/cache/apt/archives").iterdir()) == []


def test_no_tool_names_the_one_to_install(fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for root in (True, False):
        as_root(monkeypatch, root=root)
        with pytest.raises(EnvupError) as caught:
            fetch(tmp_path)
        assert caught.value.hint == "run: apt-get install mmdebstrap"


def test_debootstrap_alone_is_of_no_use_without_root(
    fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_root(monkeypatch, root=False)
    tool(fake, "debootstrap", "exit 0")
    with pytest.raises(EnvupError, match=r"needs the program mmdebstrap$"):
        fetch(tmp_path)


def test_an_account_without_subordinate_ids_is_told_how_to_get_them(
    fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_root(monkeypatch, root=False)
    monkeypatch.setenv("LOGNAME", "nobody-of-this-name")
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    tool(fake, "mmdebstrap", "exit 0")
    with pytest.raises(EnvupError) as caught:
        fetch(tmp_path)
    assert caught.value.hint == "run: apt-get install uidmap"
    tool(fake, "newuidmap", "exit 0")
    with pytest.raises(EnvupError) as caught:
        fetch(tmp_path)
    assert "usermod --add-subuids" in caught.value.hint and "nobody-of-this-name" in caught.value.hint


def test_a_failure_shows_the_last_lines(fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_root(monkeypatch, root=True)
    tool(fake, "mmdebstrap", 'seq 100; echo "E: no such suite" >&2; exit 25')
    with pytest.raises(EnvupError, match=r"debian/bookworm.*25") as caught:
        fetch(tmp_path)
    assert caught.value.details.splitlines()[-2:] == ["100", "E: no such suite"]
    assert len(caught.value.details.splitlines()) == 20 and caught.value.hint


def test_the_keyring_of_another_distribution_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aptsources, "release", lambda: {"ID": "fedora"})
    monkeypatch.setattr(Path, "exists", lambda _self: False)
    with pytest.raises(EnvupError) as caught:
        debootstrap._foreign_keyring("ubuntu", "")
    assert "apt-get install ubuntu-archive-keyring" in caught.value.hint
    with pytest.raises(EnvupError, match="not known"):
        debootstrap._foreign_keyring("kali", "")


def test_the_tool_ends_when_envup_is_killed(tmp_path: Path) -> None:
    code = "import sys; from envup.images import tools; tools.run(('/bin/sh', '-c', sys.argv[1]))"
    script = f"trap 'echo ended > {tmp_path}/ended; exit' TERM; echo $$ > {tmp_path}/pid.new; "
    script += f"mv {tmp_path}/pid.new {tmp_path}/pid; while :; do sleep 0.05; done"
    with subprocess.Popen((sys.executable, "-c", code, script)) as parent:
        wait_for(tmp_path / "pid")
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    wait_for(tmp_path / "ended")


def wait_for(path: Path) -> None:
    end = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.01)


@pytest.mark.root
@pytest.mark.slow
def test_a_real_system_is_built_and_can_be_unpacked(tmp_path: Path) -> None:
    distribution, suite = aptsources.release()["ID"], aptsources.release()["VERSION_CODENAME"]
    architecture = fetch(tmp_path, distribution=distribution, suite=suite)
    contents = archives.inspect(tmp_path / "out.tar")
    assert contents.architecture == architecture == debootstrap.native_architecture()
    with tarfile.open(tmp_path / "out.tar") as archive:
        names = set(archive.getnames())
    assert {"./usr/bin/apt-get", "./etc/apt/sources.list"} <= names
    assert not any(name.endswith(".deb") for name in names)
