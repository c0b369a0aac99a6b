"""Ending the processes of a machine, seen from the host."""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH208

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from envup.errors import EnvupError
from envup.events import Emit, Event
from envup.namespaces import pids, programs, records

if TYPE_CHECKING:
    from envup.namespaces import Way

_PATIENCE = 1.0
"""Seconds that a killed machine is waited for before stopped host processes that must reap some of it are continued."""


def ask(way: Way, seconds: float, *, machine: str, emit: Emit, spared: Collection[int] = ()) -> None:
    """Ask every program of a machine to end, and return when all have or after so many seconds. For machines whose
    PID 1 does not do so when it is asked itself. PID 1 stays, and so do those that the machine numbers as in
    `spared`. That they could not be asked is told as a warning: the machine must end all the same."""
    import subprocess

    line = programs.program("leave", *way.arguments(), "--", *map(str, spared))
    null, pipe = subprocess.DEVNULL, subprocess.PIPE
    with subprocess.Popen(line, stdin=null, stdout=null, stderr=pipe, env={}, cwd="/") as process:
        descriptor = os.pidfd_open(process.pid)
        try:
            if not _ended(descriptor, seconds):
                process.kill()
                return
        finally:
            os.close(descriptor)
        said = process.communicate()[1].decode(errors="replace").strip()
    if process.returncode:
        reason = said or f"the helper ended with {process.returncode}"
        text = f"the programs of the machine are killed, as they cannot be asked to end: {reason}"
        emit(Event("warning", machine=machine, text=text))


def end(run: Mapping[str, Any], grace: float, *, request: int = signal.SIGTERM) -> None:
    """End the process that `run` names by `pid` and `start`, PID 1 of a machine, and with it every other: asked to by
    the signal `request`, then after `grace` seconds killed. Returns when all are gone, at once where they are already.
    Errors: `EnvupError` when the kernel does not let go of one."""
    try:
        descriptor = os.pidfd_open(run["pid"])
    except ProcessLookupError:
        return
    try:
        if not records.lives(run["pid"], run["start"]):
            return
        namespace = pids.namespace(f"/proc/{run['pid']}/ns/pid")
        if grace > 0:
            _send(descriptor, request)
            if _ended(descriptor, grace):
                return
        _send(descriptor, signal.SIGKILL)
        if not _ended(descriptor, _PATIENCE):
            _continue_stopped(namespace)
            if not _ended(descriptor, 30):
                raise EnvupError(
                    "processes of the machine do not end", hint="`ps` shows those in state D: they wait for a device"
                )
    finally:
        os.close(descriptor)


def _send(descriptor: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, number)


def _ended(descriptor: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _continue_stopped(namespace: int | None) -> None:
    """The kernel keeps a PID namespace until the host's processes that started programs in it have reaped them; one
    that a shell has stopped does not."""
    for process in _processes():
        if namespace is not None and pids.namespace(f"/proc/{process}/ns/pid_for_children") == namespace:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGCONT)


def members(run: Mapping[str, Any]) -> set[int]:
    """Every process of a running machine, by its number on the host; none when it has ended. Those in PID namespaces
    that its programs made are among them."""
    namespace = pids.namespace(f"/proc/{run['pid']}/ns/pid")
    if namespace is None or not records.lives(run["pid"], run["start"]):
        return set()
    return {process for process in _processes() if pids.is_below(process, namespace)}


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]
