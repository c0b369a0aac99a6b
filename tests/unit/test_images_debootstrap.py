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

from envup.envfile.load import load
from envup.errors import EnvfileError, EnvupError
from envup.events import Event, silent
from envup.home import Home
from envup.image import FetchContext, Fetched
from envup.images import aptsources, tools
from envup.images import archive as archives
from envup.images.sources import debootstrap
from envup.images.sources.debootstrap import Debootstrap
from envup.model import Pin
from envup.plugins import Host

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


SMALLEST = r"""
for word; do case $word in /*.tar) archive=$word;; esac; done
root=$TMPDIR/root; mkdir -p "$root/var/lib/dpkg" "$root/etc/apt"
echo "deb http://mirror.test/debian bookworm main" > "$root/etc/apt/sources.list"
printf 'Package: apt\nStatus: install ok installed\nVersion: 2.6.1\n\n' > "$root/var/lib/dpkg/status"
printf 'Package: cron\nStatus: deinstall ok config-files\nVersion: 3.0\n' >> "$root/var/lib/dpkg/status"
tar --create --file "$archive" --directory "$root" ."""
"""Writes an archive as mmdebstrap does, as far as that is looked at."""


def as_root(monkeypatch: pytest.MonkeyPatch, *, root: bool) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)


def test_mmdebstrap_gets_the_whole_recipe(fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_root(monkeypatch, root=True)
    tool(fake, "mmdebstrap", f'printf "%s\\n" "$@"; echo "epoch $SOURCE_DATE_EPOCH"\n{SMALLEST}')
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
        "--skip=cleanup/apt",
        lines[8],
        "--",
        "bookworm",
        str(tmp_path / "out.tar"),
        "https://mirror.test/x",
    ]
    assert lines[8].startswith("--customize-hook=set -eu; ")
    assert int(lines[-1].split()[1]) % 86400 == 0


FACTS = {"time": "2026-01-02T03:04:05Z", "package.apt": "2.6.1", "package.libstdc++6": "12.2.0-14+deb12u1"}
DIGEST = f"sha256:{'a' * 64}"


def said(fake: Path, tmp_path: Path, *, pin: Pin | None, **options: object) -> tuple[list[str], Fetched]:
    """What mmdebstrap is called with: arguments, then variables."""
    tool(fake, "mmdebstrap", f'printf "%s\\n" "$@"; env | grep -E "^(ENVUP|SOURCE|SECRET|http)"\n{SMALLEST}')
    (tmp_path / "work").mkdir(exist_ok=True)
    events: list[Event] = []
    context = FetchContext(tmp_path / "work", events.append, pin)
    fetched = Debootstrap().fetch({"suite": "bookworm", **options}, tmp_path / "out.tar", context)
    return "".join(event.text for event in events if event.kind == "output").splitlines(), fetched


def test_what_was_built_can_be_locked(fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_root(monkeypatch, root=True)
    monkeypatch.setattr(time, "time", lambda: 86400 * 20000 + 5)
    _, fetched = said(fake, tmp_path, pin=None)
    mirror = {"mirror.1": "deb http://mirror.test/debian bookworm main"}
    assert fetched.pin == Pin("", {"time": "2024-10-04T00:00:00Z", "package.apt": "2.6.1", **mirror})
    _, fetched = said(fake, tmp_path, pin=None, mirror="http://mirror.test/debian")
    assert not fetched.pin.facts.keys() & mirror.keys()


def test_a_locked_image_is_built_of_its_versions_from_its_mirrors_at_its_time(
    fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_root(monkeypatch, root=True)
    lines = {f"mirror.{number}": f"deb http://mirror.test/{number} bookworm main" for number in (1, 2, 10)}
    heard, _ = said(fake, tmp_path, pin=Pin(DIGEST, FACTS | lines))
    assert [line for line in heard if line.startswith("deb ")] == list(lines.values())
    assert "--skip=cleanup/apt,update" in heard
    assert "ENVUP_PACKAGES=apt=2.6.1 libstdc++6=12.2.0-14+deb12u1" in heard
    assert "SOURCE_DATE_EPOCH=1767323045" in heard
    (hook,) = (line for line in heard if line.startswith("--setup-hook="))
    assert "Check-Valid-Until" in hook and "Pin-Priority: -1" in hook


@pytest.mark.parametrize(
    ("gone", "told"),
    [(["apt=2.6.1"], "has apt 2.6.1"), (["apt=2.6.1", "less=5"], "has apt 2.6.1 and 1 more of the locked packages")],
)
def test_versions_that_the_mirror_no_longer_has_are_named(
    gone: list[str], told: str, fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_root(monkeypatch, root=True)
    lines = "\n".join(f"echo 'envup: the mirror has no {one}'" for one in gone)
    tool(fake, "mmdebstrap", f"{lines}\nexit 1")
    context = FetchContext(tmp_path, silent, Pin(DIGEST, FACTS, "debian/bookworm@amd64#0123abcd"))
    with pytest.raises(EnvupError) as caught:
        Debootstrap().fetch({"suite": "bookworm"}, tmp_path / "out.tar", context)
    assert caught.value.brief == f"the mirror of debian/bookworm no longer {told}"
    assert "`env lock --update 'debian/bookworm@amd64#0123abcd'`" in caught.value.hint


def test_a_build_sees_no_variables_of_the_caller_but_proxies(
    fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_root(monkeypatch, root=True)
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setenv("http_proxy", "http://proxy.test")
    heard, _ = said(fake, tmp_path, pin=None)
    assert "http_proxy=http://proxy.test" in heard and "SECRET=x" not in heard


def test_a_snapshot_of_the_archive_gives_its_own_time_and_does_not_grow_too_old(
    fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_root(monkeypatch, root=True)
    heard, fetched = said(fake, tmp_path, pin=None, mirror="http://snapshot.test/archive/debian/20250520T010203Z/")
    assert fetched.pin.facts["time"] == "2025-05-20T01:02:03Z"
    assert any(line.startswith("--setup-hook=") and "Check-Valid-Until" in line for line in heard)
    with pytest.raises(EnvupError, match="no time that there is"):
        said(fake, tmp_path, pin=None, mirror="http://snapshot.test/archive/debian/20251399T010203Z/")
    heard, _ = said(fake, tmp_path, pin=None, mirror="http://mirror.test/debian")
    assert not any("Check-Valid-Until" in line for line in heard)


@pytest.mark.parametrize(
    "facts",
    [
        {"time": "2026-01-02T03:04:05Z"},
        {"package.apt": "1"},
        {"time": "yesterday", "package.apt": "1"},
        FACTS | {"package.apt": "1 $(touch x)"},
        FACTS | {"package.-o": "1"},
        FACTS | {"mirror.1": "deb [trusted=yes] http://mirror.test/debian bookworm main"},
        FACTS | {"mirror.1": "--setup-hook=touch x"},
        FACTS | {"mirror.1": "deb http://mirror.test/debian bookworm main\ndeb [trusted=yes] http://x bookworm main"},
    ],
)
def test_what_a_lock_file_has_is_checked_before_it_is_used(
    facts: dict[str, str], fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_root(monkeypatch, root=True)
    with pytest.raises(EnvupError, match="the lock file has") as caught:
        said(fake, tmp_path, pin=Pin(DIGEST, facts, "one"))
    assert "`env lock --update one`" in caught.value.hint
    assert not (tmp_path / "out.tar").exists()


def test_a_locked_image_cannot_be_built_by_debootstrap(
    fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_root(monkeypatch, root=True)
    tool(fake, "debootstrap", "exit 0")
    context = FetchContext(tmp_path, silent, Pin(DIGEST, FACTS))
    with pytest.raises(EnvupError, match=r"needs the program mmdebstrap$"):
        Debootstrap().fetch({"suite": "bookworm"}, tmp_path / "out.tar", context)


@pytest.mark.parametrize("mirror", ["--setup-hook=touch x", "-v"])
def test_a_mirror_is_no_option_of_the_tool(mirror: str, tmp_path: Path, home: Path) -> None:
    assert home.is_dir()
    (tmp_path / "Envfile").write_text(f"image: {{debootstrap: {{suite: bookworm, mirror: '{mirror}'}}}}\n")
    with pytest.raises(EnvfileError, match="mirror"):
        load(tmp_path / "Envfile", Host(Home.locate().make()))


def test_packages_that_others_sign_need_consent() -> None:
    source = Debootstrap()
    assert source.host_code({"suite": "bookworm", "mirror": "https://mirror.test/debian"}) is None
    for options in ({"keyring": "/k.gpg"}, {"mirror": "deb [trusted=yes] https://mirror.test/x bookworm main"}):
        assert source.host_code({"suite": "bookworm", **options}) is not None


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


def test_what_debootstrap_has_built_is_not_locked() -> None:
    Debootstrap().require_pin(Pin(DIGEST, FACTS))
    with pytest.raises(EnvupError, match="cannot be built again") as caught:
        Debootstrap().require_pin(Pin(DIGEST))
    assert "mmdebstrap" in str(caught.value.hint)


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
