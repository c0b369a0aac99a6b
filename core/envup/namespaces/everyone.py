"""Ending every process of a PID namespace in order, from inside and with its own /proc."""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH123, PTH208

from __future__ import annotations

import os
import select

from envup.namespaces.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection


def end(reap: Callable[[], None], *, spared: Collection[int] = ()) -> None:
    """Ask every process but PID 1, the caller and those in `spared` to end, and return when they have. `reap` is called
    when one may be a child that waits to be reaped."""
    left_alone = {1, os.getpid(), *spared}
    for process, _state, has_terminal in _others(left_alone):
        _send(process, signal.SIGTERM)
        if has_terminal:
            _send(process, signal.SIGHUP)  # interactive shells ignore SIGTERM
        _send(process, signal.SIGCONT)
    while living := [process for process, state, _terminal in _others(left_alone) if state != "Z"]:
        _wait_for_any(living)
        reap()


def _wait_for_any(processes: list[int]) -> None:
    poll = select.poll()
    descriptors = []
    try:
        for process in processes:
            try:
                descriptors.append(os.pidfd_open(process))
            except ProcessLookupError:
                return
            poll.register(descriptors[-1], select.POLLIN)
        poll.poll()
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _others(spared: Collection[int]) -> list[tuple[int, str, bool]]:
    """(pid, state, has a controlling terminal) of every process but those, as proc(5) tells."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) in spared:
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        found.append((int(name), fields[0].decode(), fields[4] != b"0"))
    return found


def _send(process: int, number: int) -> None:
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return
