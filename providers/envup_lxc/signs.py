"""How a machine that starts tells how far it is: by events, each waited for as long as its monitor lives.

a pipe      `launch` says what PID 1 is going to be
states      a named pipe that LXC writes each state of a container to (struct lxc_msg of its monitor.h)
notify      a socket where systemd tells that it has booted (sd_notify(3))
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH101, PTH108

from __future__ import annotations

import _socket
import contextlib
import os
import select
import struct
import time

_MESSAGE = struct.Struct("i256si")
_RUNNING = (0, 2)
"""lxc_msg_state, and the number of the state RUNNING in state.h."""


class Ended(Exception):
    """The monitor ended before the sign came."""


class Late(Exception):
    """The sign did not come in time."""


class Signs:
    """The signs of one start. `report` is the pipe's end that `launch` gets; `stack` closes everything."""

    def __init__(self, directory: str, stack: contextlib.ExitStack) -> None:
        self._reader, self.report = os.pipe()
        stack.callback(os.close, self._reader)
        self._states = _named_pipe(f"{directory}/states")
        stack.callback(os.close, self._states)
        self._notify = stack.enter_context(contextlib.closing(_listener(directory, "notify")))
        self._monitor = -1
        self._stack = stack

    def watch(self, monitor: int) -> None:
        """From now on the end of this process ends all waiting, and it alone can report."""
        os.close(self.report)
        try:
            self._monitor = os.pidfd_open(monitor)
        except ProcessLookupError:
            raise Ended from None
        self._stack.callback(os.close, self._monitor)

    def init(self) -> tuple[str, str]:
        """What PID 1 is going to be, and which init of the image cannot be (see `inits.Init`), when the machine's root
        is made. Errors: `Ended`."""
        if not (said := os.read(self._reader, 256)):
            raise Ended
        kind, _space, passed_over = said.decode().partition(" ")
        return kind, passed_over

    def running(self) -> None:
        """Wait until LXC has seen that PID 1 was executed. Errors: `Ended`."""
        while True:
            self._await(self._states, None)
            kind, _name, value = _MESSAGE.unpack(os.read(self._states, _MESSAGE.size))
            if (kind, value) == _RUNNING:
                return

    def booted(self, seconds: float) -> None:
        """Wait until systemd has started what it starts at boot, successfully or not. Errors: `Ended`, `Late`."""
        limit = time.monotonic() + seconds
        while True:
            self._await(self._notify.fileno(), limit)
            if b"READY=1" in self._notify.recv(4096).splitlines():
                return

    def _await(self, descriptor: int, limit: float | None) -> None:
        patience = None if limit is None else max(0.0, limit - time.monotonic())
        ready = select.select([descriptor, self._monitor], [], [], patience)[0]
        if descriptor in ready:
            return
        raise Ended if ready else Late


def _named_pipe(path: str) -> int:
    """A new one, open for reading; it stays open though writers come and go."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDWR | os.O_NONBLOCK)


def _listener(directory: str, name: str) -> _socket.socket:
    """A new socket that the machine's root may write to; nobody else gets through the directories above it."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{directory}/{name}")
    above = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
        listener.bind(f"/proc/self/fd/{above}/{name}")  # short enough, whatever the directory's name
    finally:
        os.close(above)
    os.chmod(f"{directory}/{name}", 0o666)
    return listener
