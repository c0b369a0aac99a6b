"""Identity, records, journal and lock."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from envup.errors import EnvupError, LockedError
from envup.state import identity
from envup.state.lock import hold
from envup.state.records import MachineRecord, State, StepRecord


def test_an_identity_is_kept(tmp_path: Path) -> None:
    made = identity.ensure(tmp_path)
    assert identity.ensure(tmp_path) == identity.find(tmp_path) == made
    assert (tmp_path / ".envup/.gitignore").read_text() == "*\n"


def test_a_moved_project_keeps_its_id(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    made = identity.ensure(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    assert identity.ensure(tmp_path / "new").id == made.id
    kept = json.loads((tmp_path / "new/.envup/environment.json").read_text())
    assert kept["directory"] == str(tmp_path / "new")


def test_a_copied_project_gets_its_own_id(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    made = identity.ensure(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert identity.find(tmp_path / "two") is None
    assert identity.ensure(tmp_path / "two").id != made.id
    assert identity.ensure(tmp_path / "one").id == made.id


def test_a_damaged_identity_is_told_with_a_remedy(tmp_path: Path) -> None:
    identity.ensure(tmp_path)
    (tmp_path / ".envup/environment.json").write_text("{")
    with pytest.raises(EnvupError, match="damaged") as caught:
        identity.find(tmp_path)
    assert ".envup" in caught.value.hint


def state_with_machine(path: Path, instance: str = "i1") -> State:
    state = State(path)
    state.remember_machine("abc", "web", MachineRecord("chroot", instance, {"user": "root"}))
    return state


def test_records_survive_a_new_process(tmp_path: Path) -> None:
    state = state_with_machine(tmp_path / "state.db")
    state.remember_step("abc", "web", "i1", StepRecord(0, "one", "d", "c", {"paths": []}))
    state.close()
    records = State(tmp_path / "state.db").records("abc")
    assert records.machines["web"].instance == "i1"
    assert [step.name for step in records.steps["web"]] == ["one"]


def test_steps_of_an_earlier_instance_are_forgotten(tmp_path: Path) -> None:
    state = state_with_machine(tmp_path / "state.db")
    state.remember_step("abc", "web", "i1", StepRecord(0, "one", "d", "c", {}))
    state.remember_machine("abc", "web", MachineRecord("chroot", "i2", {}))
    assert state.records("abc").steps == {}


def test_what_a_dead_command_had_begun_is_known_until_it_is_settled(tmp_path: Path) -> None:
    state = State(tmp_path / "state.db")
    state.end(state.begin("abc", "web", "start", "chroot"), "done")
    state.begin("abc", "web", "create", "chroot")
    assert state.records("abc").unfinished == {("web", "create"): "chroot"}
    state.settle("abc", "web")
    assert not state.records("abc").unfinished


def test_a_damaged_database_is_set_aside_and_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"no database" * 1000)
    assert State(path).records("abc").machines == {}
    assert list(tmp_path.glob("state.db.damaged-*"))


def test_a_database_of_a_newer_envup_is_refused(tmp_path: Path) -> None:
    import sqlite3

    database = sqlite3.connect(tmp_path / "state.db")
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(EnvupError, match="format 99"):
        State(tmp_path / "state.db")


def test_many_threads_may_write_at_once(tmp_path: Path) -> None:
    state = State(tmp_path / "state.db")

    def write(number: int) -> None:
        for turn in range(20):
            state.end(state.begin("abc", f"m{number}", f"a{turn}", "chroot"), "done")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not state.records("abc").unfinished


HOLD = """
import sys
from pathlib import Path
from envup.state.lock import hold
with hold(Path(sys.argv[1]), "up"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        if process.poll() is None:
            process.kill()


def test_who_holds_the_lock_is_named(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    with pytest.raises(LockedError, match=rf"`env up` \(pid {holder.pid}, since"), hold(tmp_path / "lock", "destroy"):
        pass


def test_waiting_for_the_lock_ends_when_time_is_up(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    with pytest.raises(LockedError, match=r"after 0.2 s"), hold(tmp_path / "lock", "destroy", wait=0.2):
        pass


def test_the_lock_is_had_once_its_holder_is_killed(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    threading.Timer(0.1, holder.kill).start()
    with hold(tmp_path / "lock", "destroy", wait=30):
        descriptor = os.open(tmp_path / "lock", os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)


MAKE_IDENTITY = """
import sys
from pathlib import Path
from envup.state import identity
input()
print(identity.ensure(Path(sys.argv[1])).id)
"""


def test_an_identity_made_by_many_at_once_is_one(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MAKE_IDENTITY, str(tmp_path)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    assert len({process.communicate()[0] for process in processes}) == 1
