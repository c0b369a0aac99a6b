"""Ending an LXC machine, seen from the host."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator, Mapping
from typing import Any

from envup import namespaces
from envup.errors import EnvupError
from envup.events import Emit
from envup.namespaces import ending, records
from envup.provider import Command, HostCommand
from envup_lxc import groups, seeing, ways

_HALT = signal.SIGRTMIN + 3
"""Asks systemd to shut down (systemd(1), Signals)."""
_MISSING = 127
"""Exit code of a program that is not there."""
_LOOK = 0.2
"""Seconds after which a monitor that has not ended is looked at for another PID 1."""
_CLEANING = 30.0
"""Seconds that LXC has to remove what it made for a machine that has ended."""


def stop(run: Mapping[str, Any], grace: float, machine: str, emit: Emit) -> None:
    """End every process of a machine, asked to in the way of its init and after `grace` seconds killed; its monitor is
    still at work then. Errors: `EnvupError`."""
    if run["ready"]:
        _end(run, grace, machine, emit)
        return
    with _opened(run["monitor"], run["monitor_start"]) as monitor:
        if monitor is not None:
            signal.pidfd_send_signal(monitor, signal.SIGKILL)


def await_cleaning(run: Mapping[str, Any]) -> None:
    """Return when the monitor of a machine that has ended has gone as well. A PID 1 that it makes meanwhile, as the
    machine was restarting itself, is killed. Errors: `EnvupError`."""
    give_up = time.monotonic() + _CLEANING
    with _opened(run["monitor"], run["monitor_start"]) as monitor:
        while monitor is not None and not select.select([monitor], [], [], _LOOK)[0]:
            if time.monotonic() > give_up:
                raise EnvupError("LXC does not come to its end", hint=f"kill process {run['monitor']}")
            if (now := seeing.current(run, records.boot())) is not None:
                ending.end(now, 0)


def _end(run: Mapping[str, Any], grace: float, machine: str, emit: Emit) -> None:
    if groups.is_frozen(run["freezer"]):
        groups.freeze(run["freezer"], frozen=False)
    request = 0
    if grace > 0 and run["init"] == "small":
        ending.ask(ways.way(run), grace, machine=machine, emit=emit)
        grace = 0
    elif grace > 0 and run["init"] == "own":
        if _run(namespaces.enter(ways.way(run), Command(("poweroff",))), grace) == _MISSING:
            request = signal.SIGTERM
    else:
        request = _HALT
    ending.end(run, grace, request=request)


def _run(command: HostCommand, seconds: float) -> int:
    """Run it to its end or for so long; its exit code. What it says is of no use: who does not follow is killed."""
    import subprocess

    environment = {**os.environ, **command.environment}
    null = subprocess.DEVNULL
    with subprocess.Popen(command.argv, stdin=null, stdout=null, stderr=null, env=environment, cwd="/") as process:
        with _opened(process.pid) as running:
            select.select([] if running is None else [running], [], [], seconds)
        process.kill()
    return process.returncode


@contextlib.contextmanager
def _opened(process: int, start: str | None = None) -> Iterator[int | None]:
    """A pidfd, None where the process, which had that start time, is gone."""
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        yield None
        return
    try:
        yield descriptor if start is None or records.lives(process, start) else None
    finally:
        os.close(descriptor)
