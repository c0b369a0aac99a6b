"""The processes of a machine, stopped for a moment in which its files are read.

A helper stops them, and lets them go on when its standard input ends: with the caller, however that ends.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH123, PTH208

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

from envup.namespaces import pids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_READY = b"ready\n"
_STILL = frozenset((b"T", b"t", b"Z", b"X"))
_PATIENCE = 1.0
"""Seconds in which what was told to stop must; what it asks of the kernel ends first."""
_IN_ORDER = 0.5
"""Seconds of these in which no process is told before its parent has stopped."""
_LONGEST = 10.0
"""Seconds in which all must have been told."""
_ROUND = 0.001
"""Seconds between two looks at them."""


@contextlib.contextmanager
def paused(first: int) -> Iterator[None]:
    """All processes in the PID namespace of the process `first`, and in those that were made in it, stand still
    meanwhile; those that were stopped stay so. Errors: `EnvupError`; `TransportError` where they may not go on."""
    import subprocess

    from envup.errors import EnvupError, TransportError
    from envup.namespaces import programs

    line, pipe = programs.program("pausing", str(first)), subprocess.PIPE
    with subprocess.Popen(
        line, stdin=pipe, stdout=pipe, stderr=pipe, env={}, cwd="/", start_new_session=True
    ) as helper:
        assert helper.stdin is not None
        assert helper.stdout is not None
        assert helper.stderr is not None
        try:
            if helper.stdout.readline() != _READY:
                raise EnvupError("the programs of the machine cannot be paused", details=_said(helper.stderr.read()))
            yield
        finally:
            helper.stdin.close()
            helper.wait()
        if helper.returncode:
            raise TransportError("the programs of the machine do not go on", details=_said(helper.stderr.read()))


def _said(text: bytes) -> str:
    return text.decode(errors="replace").strip() or "the helper was killed"


def main(arguments: list[str]) -> int:
    """Stop them, say so, and wait. Parents are stopped before their children and go on after them, so that no shell
    sees a job stop."""
    stopped: dict[int, int] = {}
    try:
        if _stop_all(int(arguments[0]), stopped):
            sys.stdout.buffer.write(_READY)
            sys.stdout.buffer.flush()
            sys.stdin.buffer.read()
    finally:
        for descriptor in reversed([*stopped.values()]):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGCONT)
    return 0


def _stop_all(first: int, stopped: dict[int, int]) -> bool:
    """Whether all were told and stand still, but for those that the kernel holds up for longer; not where the caller
    ended meanwhile."""
    begun = time.monotonic()
    while running := {process: found for process in members(first) if (found := _states(process)) - _STILL}:
        waited = time.monotonic() - begun
        if waited > _PATIENCE and running.keys() <= stopped.keys():
            return True
        if waited > _LONGEST:
            sys.exit("they start others faster than these can be stopped")
        for process in _to_tell(running) if waited < _IN_ORDER else running:
            _stop(process, stopped)  # also one that was told and has not stopped yet
        if select.select([sys.stdin], [], [], _ROUND)[0]:
            return False
    return True


def _to_tell(running: dict[int, set[bytes]]) -> list[int]:
    """Those whose parent has stopped or sleeps. Any other may be in vfork(2): were its child stopped before execve(2),
    no signal could stop the parent."""
    busy = {process for process, found in running.items() if found - _STILL - {b"S"}}
    return [process for process in running if _parent(process) not in busy]


def _stop(process: int, stopped: dict[int, int]) -> None:
    try:
        if process not in stopped:
            stopped[process] = os.pidfd_open(process)
        signal.pidfd_send_signal(stopped[process], signal.SIGSTOP)
    except ProcessLookupError:
        stopped.pop(process, None)


def members(first: int) -> list[int]:
    """Processes in the PID namespace of the process `first`, and in those below it; none when it is gone."""
    wanted = pids.namespace(f"/proc/{first}/ns/pid")
    if wanted is None:
        return []
    return [
        number
        for number in sorted(map(int, filter(str.isdecimal, os.listdir("/proc"))))
        if pids.is_below(number, wanted)
    ]


def stands_still(process: int) -> bool:
    """Whether all threads of a process have been stopped, or have ended."""
    return _states(process) <= _STILL


def _states(process: int) -> set[bytes]:
    """Of its threads, by the letters of proc_pid_stat(5); none when it is gone."""
    try:
        tasks = os.listdir(f"/proc/{process}/task")
    except (FileNotFoundError, ProcessLookupError):
        return set()
    return {fields[0] for task in tasks if (fields := _status(f"/proc/{process}/task/{task}"))}


def _parent(process: int) -> int:
    fields = _status(f"/proc/{process}")
    return int(fields[1]) if fields else 0


def _status(place: str) -> list[bytes]:
    """State, parent and more of a process or thread; empty when it is gone."""
    try:
        with open(f"{place}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
