"""Locks and work directories that the kernel frees with the process, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from envup import children

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5
"""Seconds between two tries for a lock that another holds: flock(2) waits by itself, but no interrupt ends that."""


@contextlib.contextmanager
def exclusive(path: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock file at `path` alone, among threads and processes. `waiting` is called once if another holds it.

    Errors: `InterruptedByUser` while waiting.
    """
    descriptor = open_file(path)
    try:
        await_lock(descriptor, waiting)
        yield
    finally:
        os.close(descriptor)


def open_file(path: Path) -> int:
    """A descriptor of a lock file, which is made where there is none. Closing it gives up the lock."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def try_lock(descriptor: int) -> bool:
    """Whether the file is locked by this descriptor now, and by no other."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def await_lock(descriptor: int, waiting: Callable[[], None] | None = None) -> None:
    """Lock the file once no other descriptor does. `waiting` is called once if another holds it. Errors:
    `InterruptedByUser` while waiting."""
    pause = _FIRST_PAUSE
    while not try_lock(descriptor):
        if waiting and pause == _FIRST_PAUSE:
            waiting()
        children.pause(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


def lease(path: Path) -> int | None:
    """A descriptor that keeps `path` from being claimed for as long as it is open; None when there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    if os.fstat(descriptor).st_nlink:
        return descriptor
    os.close(descriptor)
    return None


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Whether nobody leases or locks `path`; if so, nobody can while this lasts. A file that is gone is claimed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield True
        return
    try:
        yield try_lock(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def workspace(parent: Path) -> Iterator[Path]:
    """A new directory below `parent` that is removed at the end. `sweep` removes it when the process dies before."""
    import shutil

    path = parent / f"{os.getpid()}-{os.urandom(6).hex()}"
    with exclusive(parent / "guard"):
        descriptor = open_file(_lock_of(path))
        try_lock(descriptor)
        path.mkdir(mode=0o711)
    try:
        yield path
    finally:
        shutil.rmtree(path)
        _lock_of(path).unlink()
        os.close(descriptor)


def sweep(parent: Path) -> None:
    """Remove the work directories whose process is gone; those of live ones stay. Does nothing when there are none."""
    import shutil

    with exclusive(parent / "guard"):
        names = {path.stem for path in parent.iterdir() if path.name != "guard"}
        for path in map(parent.joinpath, names):
            with claimed(_lock_of(path)) as free:
                if free:
                    shutil.rmtree(path, ignore_errors=True)
                    _lock_of(path).unlink(missing_ok=True)


def _lock_of(path: Path) -> Path:
    return path.with_suffix(".lock")
