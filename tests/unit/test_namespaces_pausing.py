"""All programs of a machine stand still, those in namespaces that they made too, and go on."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from namespaced import Machine, machine

from envup.namespaces import ending, pausing, writing

pytestmark = pytest.mark.root

NESTED = """\
mkfifo /mnt/ready
unshare --fork --pid sh -c 'echo ready > /mnt/ready; while :; do sleep 1000; done' < /dev/null > /dev/null 2>&1 &
cat /mnt/ready
"""
SPAWNING = """\
mkfifo /mnt/ready
sh -c 'while :; do /bin/true; echo > /mnt/ready; done' < /dev/null > /dev/null 2>&1 &
cat /mnt/ready > /dev/null
"""
HELD_UP = """\
import os
print("ready", flush=True)
actions = [(os.POSIX_SPAWN_OPEN, 0, "/mnt/never", os.O_RDONLY, 0)]
os.waitpid(os.posix_spawn("/bin/true", ["true"], {}, file_actions=actions), 0)
"""
"""Its child waits for the FIFO before execve(2), so vfork(2) holds it up."""
THREADED = """\
import ctypes, threading, time
def work():
    while open("/proc/self/stat").read().split()[2] != "Z":
        time.sleep(0.001)
    print("ready", flush=True)
    while True:
        time.sleep(1000)
threading.Thread(target=work).start()
ctypes.CDLL(None).pthread_exit(None)
"""
"""Its first thread ends, and the other works on."""
ASKING = """\
import sys
from envup.namespaces import pausing
with pausing.paused(int(sys.argv[1])):
    print("ready", flush=True)
    sys.stdin.read()
"""


def states(processes: set[int]) -> set[str]:
    """The letters of proc_pid_stat(5)."""
    return {Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] for number in processes}


def test_programs_in_nested_pid_namespaces_are_paused_too() -> None:
    with machine() as inner:
        assert inner.says(NESTED) == "ready\n"
        members = ending.members({"pid": inner.way.pid, "start": inner.way.start})
        own = Path(f"/proc/{inner.way.pid}/ns/pid").readlink()
        assert any(Path(f"/proc/{number}/ns/pid").readlink() != own for number in members)
        with pausing.paused(inner.way.pid):
            assert states(members) == {"T"}
        assert "T" not in states(members)


def members(inner: Machine) -> set[int]:
    return ending.members({"pid": inner.way.pid, "start": inner.way.start})


def test_a_program_that_starts_others_all_the_time_is_paused_and_goes_on() -> None:
    with machine() as inner:
        inner.says(SPAWNING)
        for _ in range(20):
            with pausing.paused(inner.way.pid):
                assert {"T"} <= states(members(inner)) <= {"T", "Z"}
            inner.says("cat /mnt/ready > /dev/null")


def test_a_program_whose_first_thread_has_ended_is_paused() -> None:
    with machine() as inner:
        command = inner.command(sys.executable, "-c", THREADED)
        with subprocess.Popen(**command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as program:
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
            (threads,) = [found for number in members(inner) if len(found := list(tasks(number))) > 1]
            with pausing.paused(inner.way.pid):
                assert {task.read_text().rpartition(")")[2].split()[0] for task in threads} == {"T", "Z"}
            program.kill()


def tasks(process: int) -> Iterator[Path]:
    return Path(f"/proc/{process}/task").glob("*/stat")


@contextlib.contextmanager
def held_up() -> Iterator[Machine]:
    """A machine in which the kernel holds up a program that no signal stops."""
    with machine() as inner:
        inner.says("mkfifo /mnt/never")
        command = inner.command(sys.executable, "-c", HELD_UP)
        with subprocess.Popen(**command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as program:
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
            wait_for(inner, "D")
            yield inner
            inner.says(": > /mnt/never")
            assert program.wait(10) == 0, "it went on"


def wait_for(inner: Machine, state: str, *, there: bool = True) -> None:
    end = time.monotonic() + 10
    while (state in (found := states(members(inner)))) != there:
        assert time.monotonic() < end, found
        time.sleep(0.01)


def test_what_the_kernel_holds_up_is_not_waited_for_for_long(tmp_path: Path) -> None:
    with held_up() as inner:
        begun = time.monotonic()
        with pausing.paused(inner.way.pid):
            assert states(members(inner)) == {"D", "T"}
            assert writing.shared(inner.way.pid, tmp_path) is None, "a layer now, and the next one, hold all"
        assert time.monotonic() - begun < 5
        assert "T" not in states(members(inner))


@pytest.mark.parametrize("ready", [True, False])
def test_a_machine_goes_on_when_the_one_who_paused_it_is_killed(ready: bool) -> None:
    with held_up() as inner:
        line = [sys.executable, "-c", ASKING, str(inner.way.pid)]
        with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as asking:
            assert asking.stdout is not None
            if ready:
                assert asking.stdout.readline() == b"ready\n"
            wait_for(inner, "T")
            asking.kill()
        wait_for(inner, "T", there=False)
