"""What PID 1 of a machine does: reaps orphans, and on SIGTERM from the host asks every process to end and waits for
it."""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH123, PTH208

from __future__ import annotations

import os
import select

from envup.namespaces.signals import signal

_WAITED = {signal.SIGCHLD, signal.SIGTERM}


def block_signals() -> None:
    """Keep the signals that `serve` waits for pending until it does."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED)


def serve() -> int:
    """Run until the host asks for the end and no other process is left; the exit code. The kernel kills what remains
    when PID 1 is killed instead."""
    while True:
        info = signal.sigwaitinfo(_WAITED)
        _reap()
        sent_by_host = info.si_pid == 0
        if info.si_signo == signal.SIGTERM and sent_by_host:
            _end_all()
            return 0


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def _end_all() -> None:
    for process, _state, has_terminal in _others():
        _send(process, signal.SIGTERM)
        if has_terminal:
            _send(process, signal.SIGHUP)  # interactive shells ignore SIGTERM
        _send(process, signal.SIGCONT)
    while living := [process for process, state, _terminal in _others() if state != "Z"]:
        _wait_for_any(living)
        _reap()


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


def _others() -> list[tuple[int, str, bool]]:
    """(pid, state, has a controlling terminal) of every other process, as proc(5) tells."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or name == "1":
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
