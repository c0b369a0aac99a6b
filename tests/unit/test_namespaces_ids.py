"""Subordinate ids, user namespaces for the host's own tools, and ending a machine's first process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from namespaced import SHIFTED, Machine, machine

from envup import namespaces
from envup.errors import EnvupError
from envup.events import Event
from envup.image import unpack_image
from envup.namespaces import ending, programs, subids
from envup.value import replace


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """/etc/subuid, which is /etc/subgid as well, empty at first."""
    file = tmp_path / "subuid"
    file.touch()
    monkeypatch.setattr(subids, "FILES", (str(file), str(file)))
    return file


def test_root_inside_can_be_nobody_of_the_host(given: Path) -> None:
    given.write_text(f"other:100000:65536\n{os.geteuid()}:300000:60000\n{os.geteuid()}:500000:6000\n")
    uids, gids = subids.shifted()
    assert uids == gids == "0:300000:60000,60000:500000:6000"


def test_missing_subordinate_ids_are_told_with_a_command_that_gives_them(
    given: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    given.write_text("other:100000:65536\nroot:10:3\n")
    with pytest.raises(EnvupError) as raised:
        subids.shifted()
    assert raised.value.brief == f"user root has no 65536 subordinate ids in {given}"
    assert raised.value.hint == "run as root: usermod --add-subuids 165536-231071 --add-subgids 165536-231071 root"


def test_one_id_less_will_do_where_root_inside_is_the_caller(given: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1001)
    monkeypatch.setattr(os, "getegid", lambda: 1002)
    given.write_text("1001:300000:65535\n")
    assert subids.maps() == ("0:1001:1,1:300000:65535", "0:1002:1,1:300000:65535")
    with pytest.raises(EnvupError):
        subids.shifted()


def test_a_tool_keeps_the_caller_in_its_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1001)
    monkeypatch.setattr(os, "getegid", lambda: 1001)
    line = programs.as_root_of("0:1001:1,1:300000:65536", SHIFTED)
    assert line[-3:] == ("0:1001:1,1:300000:65536", f"{SHIFTED},4294967294:1001:1", "--")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive that does not name its top directory, in a directory that is closed to others."""
    place = tmp_path / "closed"
    place.mkdir(mode=0o700)
    path = place / "root.tar"
    with tarfile.open(path, "w") as stream:
        for name, owner in (("etc", 0), ("home", 1000)):
            member = tarfile.TarInfo(name)
            member.type, member.uid, member.gid = tarfile.DIRTYPE, owner, owner
            stream.addfile(member)
    return path


@pytest.mark.root
def test_an_image_is_unpacked_with_shifted_owners_and_removed(archive: Path) -> None:
    tree = archive.with_name("tree")
    prefix = programs.as_root_of(SHIFTED, SHIFTED)
    unpack_image(archive, tree, argv_prefix=prefix)
    assert [path.stat().st_uid for path in (tree, tree / "etc", tree / "home")] == [1_000_000, 1_000_000, 1_001_000]
    programs.run((*prefix, "rm", "-r", "--", str(tree)), "cannot remove it")
    assert not tree.exists()


@pytest.mark.root
def test_a_map_that_the_kernel_refuses_is_told() -> None:
    with pytest.raises(EnvupError) as raised:
        programs.run((*programs.program("userns", "0:1:0", SHIFTED, "--"), "true"), "no tool")
    assert "the maps 0:1:0 and 0:1000000:65536 were refused" in raised.value.details


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """One that TERM does not end and USR1 does."""
    program = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield child
        child.kill()


def _named(process: subprocess.Popen[bytes]) -> dict[str, object]:
    return {"pid": process.pid, "start": namespaces.start_time(process.pid)}


def test_a_process_is_asked_by_the_signal_that_it_knows(process: subprocess.Popen[bytes]) -> None:
    run = _named(process)
    ending.end(run, 60, request=signal.SIGUSR1)
    assert process.wait() == -signal.SIGUSR1
    ending.end(run, 60)


def test_a_process_that_does_not_listen_is_killed_when_its_grace_is_over(process: subprocess.Popen[bytes]) -> None:
    begun = time.monotonic()
    ending.end(_named(process), 0.2)
    assert process.wait() == -signal.SIGKILL
    assert time.monotonic() - begun >= 0.2


def test_another_process_of_the_same_number_is_left_alone(process: subprocess.Popen[bytes]) -> None:
    ending.end({**_named(process), "start": "1"}, 0)
    assert process.poll() is None
    assert not namespaces.lives(process.pid, "1")


def test_a_process_is_in_no_namespace_apart_from_itself() -> None:
    assert namespaces.namespaces_of(os.getpid()) == ()
    with pytest.raises(OSError):
        namespaces.namespaces_of(2**22 + 1)


@contextlib.contextmanager
def _entered(machine: Machine, *argv: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a machine that has said a line."""
    with subprocess.Popen(**machine.command(*argv), stdout=subprocess.PIPE) as entered:
        assert entered.stdout is not None
        assert entered.stdout.readline() == b"\n"
        yield entered
        entered.kill()


@pytest.mark.root
def test_a_killed_first_process_takes_all_others_with_it() -> None:
    with machine() as running:
        with _entered(running, "sh", "-c", "echo; exec sleep 600") as entered:
            run = {"pid": running.way.pid, "start": running.way.start}
            ending.end(run, 0)
            assert entered.wait(30) in (-signal.SIGKILL, 137)
        assert ending.members(run) == set()


@pytest.mark.root
def test_processes_in_namespaces_of_its_programs_are_members_of_a_machine() -> None:
    unshare = ("unshare", "--pid", "--fork", "--kill-child")
    with machine() as running, machine() as other:
        with _entered(running, *unshare, *unshare, "sh", "-c", "echo; exec sleep 600"):
            run = {"pid": running.way.pid, "start": running.way.start}
            members = ending.members(run)
            depths = {_depth(process) for process in members}
            ending.end(run, 0)
        assert depths >= {2, 3, 4}
        assert not members & {other.way.pid, os.getpid()}


def _depth(process: int) -> int:
    """How many PID namespaces a process has a number in; 0 when it is gone, as machines start programs all the time."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return len(next(line for line in lines if line.startswith("NSpid:")).split()) - 1


@pytest.mark.root
def test_programs_are_asked_to_end() -> None:
    warnings: list[Event] = []
    with ThreadPoolExecutor() as pool, machine() as running:
        with _entered(running, "sh", "-c", "echo; exec sleep 600") as entered:
            asking = pool.submit(ending.ask, running.way, 60, machine="inner", emit=warnings.append)
            assert entered.wait(30) == -signal.SIGTERM
        ending.end({"pid": running.way.pid, "start": running.way.start}, 0)
        asking.result(30)
    assert warnings == []


@pytest.mark.root
def test_that_programs_could_not_be_asked_is_told() -> None:
    warnings: list[Event] = []
    with machine() as running:
        closed = replace(running.way, label="envup-no-such-label")
        ending.ask(closed, 60, machine="inner", emit=warnings.append)
    (warning,) = warnings
    assert (warning.kind, warning.machine) == ("warning", "inner")
    assert "cannot be asked to end" in warning.text
