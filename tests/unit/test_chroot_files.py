"""What the chroot provider keeps on disk, writes into machines and reads from them."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pytest

from envup.namespaces import accounts, directories, guestfiles, joining, packing, records, unpacking, variables
from envup.namespaces.directories import Directories
from envup_chroot import seeing

LABELS = {"envup.environment": "e", "envup.machine": "web"}
FACTS = {"id": "i", "labels": LABELS, "image": "sha256:0", "architecture": "", "volatile": False, "disk": False}


def _machine(data: Path, facts: object = FACTS, run: object = None) -> Directories:
    directory = data / "machines/e.web"
    directory.mkdir(parents=True)
    if facts is not None:
        (directory / directories.MACHINE).write_text(facts if isinstance(facts, str) else json.dumps(facts))
    if run is not None:
        (directory / records.FILE).write_text(json.dumps(run))
    return Directories(data, seeing.look, seeing.FACTS)


def _run(**changes: object) -> dict[str, object]:
    pid = os.getpid()
    known = {
        "pid": pid,
        "start": records.start_time(pid),
        "boot": records.boot(),
        "ready": True,
        "id": "r",
        "cgroups": [],
    }
    return {**known, "ports": [[80, "tcp"]], **changes}


def test_a_machine_that_never_ran_is_created(tmp_path: Path) -> None:
    (instance,) = _machine(tmp_path).observe("e")
    assert (instance.id, instance.state, dict(instance.labels)) == ("i", "created", LABELS)


def test_a_living_holder_means_running(tmp_path: Path) -> None:
    (instance,) = _machine(tmp_path, run=_run()).observe(None)
    assert instance.state == "running"
    assert [(port.machine_port, port.host_port, port.protocol) for port in instance.ports] == [(80, 80, "tcp")]


@pytest.mark.parametrize(
    "changes", [{"start": "1"}, {"boot": "another"}, {"ready": False}, {"pid": 2**22 + 1}], ids=lambda c: next(iter(c))
)
def test_any_other_process_of_that_number_means_stopped(tmp_path: Path, changes: dict[str, object]) -> None:
    (instance,) = _machine(tmp_path, run=_run(**changes)).observe("e")
    assert instance.state == "stopped"


def test_a_volatile_machine_has_the_id_of_its_run(tmp_path: Path) -> None:
    (instance,) = _machine(tmp_path, {**FACTS, "volatile": True}, _run()).observe("e")
    assert (instance.id, instance.volatile) == ("r", True)


@pytest.mark.parametrize("facts", [None, "", "{", "[]", "{}"])
def test_remains_are_broken(tmp_path: Path, facts: str | None) -> None:
    (instance,) = _machine(tmp_path, facts).observe("e")
    assert instance.state == "broken"
    assert instance.reason
    assert dict(instance.labels) == LABELS


def test_a_machine_that_is_being_made_is_not_there_yet(tmp_path: Path) -> None:
    store = _machine(tmp_path, None)
    with directories.locked(tmp_path / "machines/e.web"):
        assert store.observe("e") == []
    assert len(store.observe("e")) == 1


def test_nothing_is_no_machine(tmp_path: Path) -> None:
    assert Directories(tmp_path, seeing.look, seeing.FACTS).observe("e") == []
    assert Directories(tmp_path, seeing.look, seeing.FACTS).observe(None) == []


def test_a_process_is_known_by_its_start() -> None:
    assert records.start_time(os.getpid()) == records.start_time(os.getpid())
    assert records.start_time(2**22 + 1) is None


def test_hosts_keeps_what_the_user_wrote() -> None:
    once = guestfiles.hosts("10.0.0.1 mine\n", [("127.0.0.1", "web"), ("127.0.0.1", "db")])
    assert once.splitlines() == ["10.0.0.1 mine", "# envup begin", "127.0.0.1\tweb", "127.0.0.1\tdb", "# envup end"]
    again = guestfiles.hosts(once + "10.0.0.2 later\n", [("127.0.0.1", "shop")])
    assert again.splitlines() == ["10.0.0.1 mine", "10.0.0.2 later", "# envup begin", "127.0.0.1\tshop", "# envup end"]


def test_hosts_of_an_empty_machine_knows_the_loopback() -> None:
    assert "localhost" in guestfiles.hosts(None, [("127.0.0.1", "localhost")] * 2).splitlines()[0]


@pytest.fixture
def passwd(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        b"/etc/passwd": [
            b"root:x:0:0::/root:/bin/bash",
            b"app:x:1000:1001:,,:/srv/app:",
            b"1000:x:7:7::/:/bin/sh",
            b"none:x:4294967295:0::/:/bin/sh",
            b"none-group:x:5:4294967295::/:/bin/sh",
            b"member:x:6:6::/:/bin/sh",
            b"broken",
        ],
        b"/etc/group": [
            b"root:x:0:",
            b"app:x:1001:",
            b"adm:x:4:syslog,app",
            b"web:x:33:app",
            b"bad:x:y:app",
            b"huge:x:4294967296:member",
        ],
    }
    monkeypatch.setattr(accounts, "_lines", lambda file: files[file])


@pytest.mark.usefixtures("passwd")
def test_accounts_are_found_by_name_before_number() -> None:
    app = accounts.find(b"app")
    assert (app.uid, app.gid, app.groups, app.home, app.shell) == (1000, 1001, [1001, 4, 33], b"/srv/app", b"/bin/sh")
    assert accounts.find(b"1000").uid == 7
    assert accounts.find(b"0").name == b"root"


@pytest.mark.usefixtures("passwd")
def test_numbers_need_no_account() -> None:
    nobody = accounts.find(b"4711:33")
    assert (nobody.uid, nobody.gid, nobody.groups, nobody.home) == (4711, 33, [33], b"/")
    assert accounts.find(b"app:adm").groups == [4]


@pytest.mark.usefixtures("passwd")
@pytest.mark.parametrize("name", [b"nemo", b"app:nemo", b"", b"broken"])
def test_other_names_are_errors(name: bytes) -> None:
    with pytest.raises(accounts.UnknownAccount):
        accounts.find(name)


@pytest.mark.usefixtures("passwd")
@pytest.mark.parametrize(
    "name",
    [b"none", b"none-group", b"member", b"app:huge", b"4294967295", b"app:4294967295", b"4294967296", b"9" * 5000],
    ids=lambda name: name[:20].decode(),
)
def test_numbers_that_no_user_can_have_are_errors(name: bytes) -> None:
    with pytest.raises(accounts.UnknownAccount, match=r"the last is 4294967294"):
        accounts.find(name)
    assert accounts.find(b"4294967294:04294967294").uid == accounts.find(b"4294967294").uid == 2**32 - 2


def test_a_way_keeps_every_argument_after_the_separator() -> None:
    way = joining.Way(["pid=5", "cgroup=/a=b", "cgroup=/c", "user=x", "--", "--", "", "pid=6"])
    assert (way.values["pid"], way.cgroups, way.rest) == ("5", ["/a=b", "/c"], ["--", "", "pid=6"])


def test_only_marked_variables_are_for_the_machine() -> None:
    assert variables.unpacked({b"ENVUP_SET_A": b"1", b"A": b"2", b"ENVUP_SET_": b"3"}) == {b"A": b"1", b"": b"3"}


def test_a_tree_survives_packing_and_unpacking(tmp_path: Path) -> None:
    source, target, stream = tmp_path / "source", tmp_path / "target", tmp_path / "stream"
    (source / "deep/er").mkdir(parents=True)
    (source / "deep/file").write_bytes(os.urandom(3_000_001))
    (source / "deep/hard").hardlink_to(source / "deep/file")
    (source / "soft").symlink_to("deep/none")
    (source / "deep/er").chmod(0o2751)
    os.utime(source / "deep", ns=(0, 1_234_567_890_123_456_789))
    target.mkdir()
    with stream.open("wb") as file:
        assert packing.pack(str(source), file.fileno()) == []
    with tarfile.open(stream) as archive:
        assert archive.getnames()[0] == "source"
    with stream.open("rb", buffering=0) as raw:
        assert unpacking.unpack(str(target), raw) == []
    made = target / "source"
    assert (made / "deep/file").read_bytes() == (source / "deep/file").read_bytes()
    assert (made / "deep/hard").samefile(made / "deep/file")
    assert os.readlink(made / "soft") == "deep/none"
    assert (made / "deep/er").stat().st_mode == (source / "deep/er").stat().st_mode
    assert (made / "deep").stat().st_mtime_ns == 1_234_567_890_123_456_789


def test_a_stream_without_its_end_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    with (tmp_path / "s").open("wb") as file:
        packing.pack(str(tmp_path / "f"), file.fileno())
    os.truncate(tmp_path / "s", (tmp_path / "s").stat().st_size - 1024)
    (tmp_path / "t").mkdir()
    with (tmp_path / "s").open("rb", buffering=0) as raw, pytest.raises(EOFError):
        unpacking.unpack(str(tmp_path / "t"), raw)
