"""Host paths that are declared are seen in a machine, and nothing beside them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envup.errors import EnvupError
from envup.provider import Instance, Mount
from envup.testing.subject import Subject
from envup.testing.traces import LONG, process_with

pytestmark = pytest.mark.usefixtures("check_no_leak")


@pytest.fixture(autouse=True)
def _able(subject: Subject, tmp_path: Path) -> None:
    subject.accepts(subject.spec(mounts=(Mount(tmp_path, "/x"),)), "mounts")


def test_mounts_are_shared_both_ways_and_read_only_where_asked(subject: Subject, tmp_path: Path) -> None:
    (tmp_path / "rw").mkdir()
    (tmp_path / "ro").mkdir()
    (tmp_path / "file").write_text("one file")
    (tmp_path / "ro/note").write_text("fixed")
    tmp_path.chmod(0o755)
    mounts = (
        Mount(tmp_path / "rw", "/workspace"),
        Mount(tmp_path / "ro", "/deep/er/ro", read_only=True),
        Mount(tmp_path / "file", "/etc/one.conf", read_only=True),
        Mount(tmp_path / "ro", "/workspace/inner"),
    )
    with subject.running(subject.spec(mounts=mounts)) as instance:
        subject.shell(instance, "echo out > /workspace/made; cat /deep/er/ro/note /etc/one.conf /workspace/inner/note")
        assert (tmp_path / "rw/made").read_text() == "out\n"
        (tmp_path / "rw/later").write_text("in")
        assert subject.shell(instance, "cat /workspace/later") == "in"
        for target in ("/deep/er/ro/new", "/etc/one.conf"):
            assert subject.run(instance, "sh", "-c", f"echo x > {target}").returncode != 0
    assert (tmp_path / "file").read_text() == "one file"


def test_a_target_behind_a_link_of_the_image_stays_inside(subject: Subject, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "victim").mkdir()
    spec = subject.spec("linked")
    with subject.running(spec) as instance:
        subject.shell(instance, f"ln -s {tmp_path}/victim /link; ln -s ../../../../..{tmp_path}/victim /up")
        subject.provider.stop(instance, grace=1)
        mounts = (Mount(tmp_path / "source", "/link/made"), Mount(tmp_path / "source", "/up/made2"))
        instance = subject.provider.start(instance, subject.spec("linked", mounts=mounts))
        subject.shell(instance, "echo x > /link/made/note")
        assert (tmp_path / "source/note").read_text() == "x\n"
    assert not list((tmp_path / "victim").iterdir())


def test_new_mounts_of_a_start_replace_the_old_ones(subject: Subject, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    spec = subject.spec("moving", mounts=(Mount(tmp_path / "data", "/one"),))
    with subject.running(spec) as instance:
        subject.provider.stop(instance, grace=1)
        instance = subject.provider.start(instance, subject.spec("moving", mounts=(Mount(tmp_path / "data", "/two"),)))
        subject.shell(instance, "echo x > /two/note; test ! -e /one/note")


def test_files_of_a_mount_have_their_owners_inside(subject: Subject, tmp_path: Path) -> None:
    with subject.running(subject.spec("owners", mounts=(Mount(tmp_path, "/data"),))) as instance:
        if os.geteuid() and not subject.has_own_kernel and root_of(subject, instance) == 0:
            subject.leave_out("another root than the host's")
        (tmp_path / "mine").write_text("x")
        assert subject.shell(instance, "stat -c %u /data/mine") == "0"
        subject.shell(instance, "cd /data; mkdir dir; echo x > dir/f; mv dir/f dir/g; ln -s g dir/l")
    assert {path.lstat().st_uid for path in tmp_path.rglob("*")} == {os.geteuid()}


def root_of(subject: Subject, instance: Instance) -> int:
    """Who root of a machine is on the host."""
    subject.shell(instance, f"setsid -f sleep {LONG} >/dev/null 2>&1")
    return Path(f"/proc/{process_with(LONG)}").stat().st_uid


def test_paths_of_any_name_are_mounted(subject: Subject, tmp_path: Path) -> None:
    source = tmp_path / "a b:c,d=e\\f ünï 'q' \"q\" #%s"
    source.mkdir()
    (source / "note").write_text("found")
    with subject.running(subject.spec("named", mounts=(Mount(source, "/srv/t x:y,z ü"),))) as instance:
        assert subject.shell(instance, "cat '/srv/t x:y,z ü/note'") == "found"


def test_a_mount_covers_what_the_image_has_there(subject: Subject, tmp_path: Path) -> None:
    spec = subject.spec("covered", mounts=(Mount(tmp_path, "/usr/share"),))
    (tmp_path / "mine").write_text("x")
    with subject.running(spec) as instance:
        assert subject.shell(instance, "ls /usr/share") == "mine"
        subject.provider.stop(instance, grace=1)
        instance = subject.provider.start(instance, subject.spec("covered"))
        assert "doc" in subject.shell(instance, "ls /usr/share").split()
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_mount_is_not_destroyed_with_its_machine(subject: Subject, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    with subject.running(subject.spec("gone", mounts=(Mount(tmp_path, "/srv"),))) as instance:
        subject.provider.stop(instance, grace=1)
    assert (tmp_path / "precious").read_text() == "kept"


def test_a_missing_source_is_refused_and_leaves_what_can_be_destroyed(subject: Subject) -> None:
    spec = subject.spec(mounts=(Mount(subject.base / "missing", "/data"),))
    assert [reason for reason in subject.provider.check(spec) if "missing" in reason]
    with pytest.raises(EnvupError) as caught:
        subject.provider.start(subject.create(spec), spec)
    assert "missing" in f"{caught.value.brief} {caught.value.details}"
    assert subject.state() in ("absent", "created", "stopped")
    for instance in subject.observed():
        subject.provider.destroy(instance)
    assert subject.state() == "absent"
