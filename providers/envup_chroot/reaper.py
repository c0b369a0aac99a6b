"""What PID 1 of a machine does: reaps orphans, and on SIGTERM from the host asks every process to end and waits for
it."""

from __future__ import annotations

import os

from envup.namespaces import everyone
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
            everyone.end(_reap)
            return 0


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return
