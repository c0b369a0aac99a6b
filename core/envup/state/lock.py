"""One advisory lock an environment, held by the kernel (flock(2)) and so released with the process, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from envup.errors import EnvupError, LockedError


class _WaitedEnough(Exception):
    pass


@contextlib.contextmanager
def hold(path: Path, verb: str, *, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock at `path` for `verb`. Another holder is waited for `wait` seconds. From the main thread only.

    Errors: `LockedError`, naming the holder's verb, pid and since when.
    """
    descriptor = _open(path)
    try:
        if not _acquire(descriptor, wait):
            raise _locked(descriptor, wait)
        _announce(descriptor, verb)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EnvupError(f"cannot make {error.filename}: {error.strerror}") from error


def _announce(descriptor: int, verb: str) -> None:
    """Say in the file who holds the lock. On a full disk nobody learns the name, and the lock holds all the same."""
    kept = json.dumps({"verb": verb, "pid": os.getpid(), "since": time.time()}).encode()
    os.ftruncate(descriptor, 0)
    with contextlib.suppress(OSError):
        os.pwrite(descriptor, kept, 0)


def holder(path: Path) -> str:
    """Who holds the lock now, in words; empty when nobody does. Asks proc_locks(5): to take the lock, only to see
    whether it is free, would be in the way of who wants it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    try:
        inode = f":{os.fstat(descriptor).st_ino}"
        rows = [line.split() for line in Path("/proc/locks").read_text(encoding="ascii").splitlines()]
        held = any(row[1] == "FLOCK" and row[3] == "WRITE" and row[5].endswith(inode) for row in rows)
        return _who(descriptor) if held else ""
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, wait: float) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    if wait <= 0:
        return False

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise _WaitedEnough

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, wait)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return True
    except _WaitedEnough:
        return False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _who(descriptor: int) -> str:
    try:
        kept = json.loads(os.pread(descriptor, 4096, 0))
        since = time.strftime("%H:%M:%S", time.localtime(kept["since"]))
        return f"`env {kept['verb']}` (pid {kept['pid']}, since {since})"
    except (ValueError, KeyError, TypeError):
        return "another envup command"


def _locked(descriptor: int, wait: float) -> LockedError:
    waited = f" after {wait:g} s" if wait else ""
    return LockedError(
        f"{_who(descriptor)} holds this environment{waited}",
        hint="wait for it, or give `--wait SECONDS` to wait in line",
    )
