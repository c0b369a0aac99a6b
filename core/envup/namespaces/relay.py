"""Standing in for a program that runs in a machine: signals and terminal forwarded, its end taken over.

The program leads a session of its own, so the host's terminal is never its controlling one and nothing in the machine
can type into it. With a terminal, the program gets a pseudo terminal of the machine, and bytes are carried between
the two.
"""

# os rather than pathlib, which takes longer to load than all of this.

from __future__ import annotations

import os
import select
import sys
import time

from envup.namespaces import outcomes, syscalls, terminal
from envup.namespaces.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    pass

GRACE = 5.0
"""Seconds between a TERM that is forwarded and the KILL for those of the program's group that are left."""

_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_HANDLED = frozenset((*_FORWARDED, signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT, signal.SIGCHLD))


def hold_signals() -> set[int]:
    """Block what is handled here, and return the mask from before. What the caller ignores (nohup) stays ignored."""
    ignored = {number for number in _FORWARDED if signal.getsignal(number) == signal.SIG_IGN}
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED - ignored))


def restore_signals(mask: set[int]) -> None:
    """Give back what Python took, before a program is executed."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def end_with(caller: int) -> None:
    """Have this process terminated when its parent dies, as a step must end with the command that runs it."""
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != caller:
        os.kill(os.getpid(), signal.SIGTERM)


def exit_when_orphaned(alive: int) -> None:
    """End the child whose parent died before PDEATHSIG was set: the other end of the pipe is the parent's alone."""
    poll = select.poll()
    poll.register(alive, 0)
    if poll.poll(0):
        os._exit(125)


def stand_in(child: int, host_proc: int, pair: terminal.Pair | None) -> int:
    """Serve until the child ends; its wait status. `host_proc` is a descriptor of the host's /proc."""
    poll = select.poll()
    signals = syscalls.signalfd(_HANDLED)
    poll.register(signals, select.POLLIN)
    carrier = terminal.Carrier(pair, poll) if pair is not None else None
    program = _Program(child, carrier)
    try:
        while program.status is None:
            for descriptor, _event in poll.poll(program.patience()):
                if descriptor == signals:
                    program.handle(int.from_bytes(os.read(signals, 128)[:4], sys.byteorder))
                elif carrier is not None:
                    carrier.move(descriptor)
            program.enforce()
        if carrier is not None:
            carrier.drain()
        program.end_group(host_proc)
    finally:
        if carrier is not None:
            carrier.close()
    return program.status


class _Program:
    """The child and the process group that it leads."""

    __slots__ = ("_carrier", "_child", "_deadline", "status")

    def __init__(self, child: int, carrier: terminal.Carrier | None) -> None:
        self._child = child
        self._carrier = carrier
        self._deadline: float | None = None
        self.status: int | None = None

    def handle(self, number: int) -> None:
        """Act on a signal that reached this process."""
        if number == signal.SIGCHLD:
            self._reap()
        elif number == signal.SIGWINCH:
            if self._carrier is not None:
                self._carrier.resize()
        elif number == signal.SIGTSTP:
            self._pause()
        else:
            self._send(number)
            if number == signal.SIGTERM and self._deadline is None:
                self._deadline = time.monotonic() + GRACE

    def patience(self) -> float | None:
        """Milliseconds until the deadline, None when there is none."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic()) * 1000

    def enforce(self) -> None:
        """Kill the group when its deadline has passed."""
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self._send(signal.SIGKILL)

    def end_group(self, host_proc: int) -> None:
        """After a TERM: wait for what the program left in its group, and kill that at the deadline."""
        while self._deadline is not None and (members := outcomes.group_members(host_proc, self._child)):
            self.enforce()
            poll = select.poll()
            for descriptor in members:
                poll.register(descriptor, select.POLLIN)
            poll.poll(self.patience() or None)
            for descriptor in members:
                os.close(descriptor)

    def _reap(self) -> None:
        process, status = os.waitpid(self._child, os.WNOHANG | os.WUNTRACED)
        if process and os.WIFSTOPPED(status):
            if os.WSTOPSIG(status) != signal.SIGSTOP:  # which is no job control: whoever stops it so has it go on
                self._pause()
        elif process:
            self.status = status

    def _pause(self) -> None:
        """Stop the program and this process with it, until somebody continues this one."""
        self._send(signal.SIGSTOP)
        if self._carrier is not None:
            self._carrier.release()
        os.kill(os.getpid(), signal.SIGSTOP)
        if self._carrier is not None:
            self._carrier.take()
        self._send(signal.SIGCONT)

    def _send(self, number: int) -> None:
        try:
            os.killpg(self._child, number)
        except ProcessLookupError:
            if self.status is None:  # it does not lead its group yet
                os.kill(self._child, number)
