"""Programs that envup runs on the host for itself, so that an interrupt ends them all with their children.

Each is the leader of a session of its own: a Ctrl-C at the terminal reaches envup alone, which then decides.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from envup.errors import InterruptedByUser

GRACE = 8.0
"""Seconds between TERM and KILL. Longer than the 5 that the way into a machine gives to what it ends there: killed
itself, it could end nothing more."""

_lock = threading.RLock()
_live: set[subprocess.Popen[bytes]] = set()
_cancelled = threading.Event()


@contextlib.contextmanager
def child(argv: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program; on leaving, it has ended. Errors: `InterruptedByUser` when `cancel` was called, `OSError` when
    it cannot be started."""
    if _cancelled.is_set():
        raise InterruptedByUser("interrupted")
    process: subprocess.Popen[bytes] = subprocess.Popen(list(argv), start_new_session=True, **options)
    with _lock:
        _live.add(process)
    if _cancelled.is_set():
        _signal(process, signal.SIGTERM)
    try:
        yield process
    except BaseException:
        end(process)
        raise
    finally:
        process.wait()
        with _lock:
            _live.discard(process)


def end(process: subprocess.Popen[bytes], grace: float = GRACE) -> None:
    """End a program and its children: TERM, and KILL for what is left after `grace` seconds."""
    _signal(process, signal.SIGTERM)
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        _signal(process, signal.SIGKILL)
        process.wait()


def cancel(number: int = signal.SIGTERM) -> None:
    """End every program that runs, and after `GRACE` seconds kill what does not end; none starts from now on. For a
    signal handler; a second call with KILL does not wait for manners."""
    _cancelled.set()
    if number != signal.SIGKILL:
        enforcer = threading.Timer(GRACE, cancel, (signal.SIGKILL,))
        enforcer.daemon = True
        enforcer.start()
    with _lock:
        processes = tuple(_live)
    for process in processes:
        _signal(process, number)


def cancelled() -> bool:
    """Whether `cancel` was called."""
    return _cancelled.is_set()


def pause(seconds: float) -> None:
    """Wait, or until `cancel`. Errors: `InterruptedByUser`."""
    if _cancelled.wait(seconds):
        raise InterruptedByUser("interrupted")


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
