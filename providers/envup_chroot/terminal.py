"""A pseudo terminal of a machine, and carrying bytes between it and the terminal of the host."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios

_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441
_CHUNK = 65536


class Pair:
    """Both ends of a pseudo terminal."""

    __slots__ = ("master", "slave")

    def __init__(self, master: int, slave: int) -> None:
        self.master = master
        self.slave = slave


def open_pair(owner: int) -> Pair:
    """A terminal from the machine's own devpts, which belongs to the user `owner`, with the modes and size of the
    host's."""
    master = os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
    slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY)
    os.fchown(slave, owner, -1)
    termios.tcsetattr(slave, termios.TCSANOW, termios.tcgetattr(0))
    pair = Pair(master, slave)
    _copy_size(master)
    return pair


def adopt(slave: int) -> None:
    """Make it the controlling terminal of this session leader, in place of each standard stream that is a terminal."""
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for descriptor in (0, 1, 2):
        if os.isatty(descriptor):
            os.dup2(slave, descriptor)


def _copy_size(master: int) -> None:
    fcntl.ioctl(master, termios.TIOCSWINSZ, fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))


class Carrier:
    """Carries bytes both ways while the host's terminal is in raw mode; `close` gives it back as it was."""

    __slots__ = ("_master", "_output", "_pending", "_poll", "_saved")

    def __init__(self, pair: Pair, poll: select.poll) -> None:
        os.close(pair.slave)
        self._master = pair.master
        self._output = 1 if os.isatty(1) else 0
        self._pending = b""
        self._poll = poll
        self._saved = termios.tcgetattr(0)
        poll.register(0, select.POLLIN)
        poll.register(self._master, select.POLLIN)
        self.take()

    def take(self) -> None:
        """Raw mode: every key is a byte for the machine. After cfmakeraw(3)."""
        raw = [*self._saved[:6], list(self._saved[6])]
        raw[0] &= ~(
            termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
            | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
        )  # fmt: skip
        raw[1] &= ~termios.OPOST
        raw[2] = raw[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        raw[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        raw[6][termios.VMIN], raw[6][termios.VTIME] = 1, 0
        termios.tcsetattr(0, termios.TCSADRAIN, raw)
        self.resize()

    def release(self) -> None:
        """The terminal as it was before."""
        termios.tcsetattr(0, termios.TCSADRAIN, self._saved)

    close = release

    def resize(self) -> None:
        """Give the machine's terminal the size of the host's."""
        _copy_size(self._master)

    def move(self, descriptor: int) -> None:
        """Carry what `descriptor` has, or what it can take."""
        if descriptor == 0:
            self._read_keys()
        else:
            self._flush()
            self._show()

    def drain(self) -> None:
        """Show what the program wrote last. A daemon that keeps the terminal open is not waited for."""
        self._pending = b""
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        while poll.poll(50) and self._show():
            pass

    def _read_keys(self) -> None:
        try:
            keys = os.read(0, _CHUNK)
        except OSError:
            keys = b""
        if not keys:
            self._poll.unregister(0)
            return
        self._pending += keys
        self._flush()

    def _flush(self) -> None:
        """Write pending keys; while some are left, no more are read."""
        if not self._pending:
            return
        try:
            written = os.write(self._master, self._pending)
        except BlockingIOError:
            written = 0
        self._pending = self._pending[written:]
        self._poll.modify(self._master, select.POLLIN | (select.POLLOUT if self._pending else 0))
        self._poll.register(0, 0 if self._pending else select.POLLIN)

    def _show(self) -> bool:
        """Write what the machine's terminal has to the host's; False when it is closed."""
        try:
            text = os.read(self._master, _CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            text = b""
        if not text:
            self._stop_showing()
            return False
        while text:
            try:
                text = text[os.write(self._output, text) :]
            except BlockingIOError:
                select.select([], [self._output], [])
        return True

    def _stop_showing(self) -> None:
        try:
            self._poll.unregister(self._master)
        except KeyError:
            return
