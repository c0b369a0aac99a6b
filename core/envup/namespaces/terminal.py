"""A pseudo terminal of a machine, and carrying bytes between it and the terminal of the host."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct
import termios

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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
    try:
        master = os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise OSError(errno.ENODEV, "it has no terminals", "/dev/pts/ptmx") from error
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


class Screen:
    """The terminal that standard input is, in raw mode from `take` to `release`. One that hung up is no error here: the
    kernel sends this process SIGHUP, which goes on to the program."""

    __slots__ = ("_saved",)

    def __init__(self) -> None:
        self._saved = termios.tcgetattr(0)

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
        _set_modes(raw)

    def release(self) -> None:
        """The terminal as it was before."""
        _set_modes(self._saved)

    def size(self) -> bytes:
        """Its `struct winsize`, see ioctl_tty(2). Errors: `OSError`."""
        return fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))


class Carrier:
    """Carries bytes both ways while the host's terminal is in raw mode; `close` gives it back as it was.

    A terminal of the host that hangs up is no error here: the kernel sends this process SIGHUP, which goes on to the
    program.
    """

    __slots__ = ("_keys_wanted", "_master", "_output", "_pending", "_poll", "_screen", "_showing")

    def __init__(self, pair: Pair, poll: select.poll) -> None:
        os.close(pair.slave)
        self._master = pair.master
        self._output = 1 if os.isatty(1) else 0
        self._pending = b""
        self._poll = poll
        self._screen = Screen()
        self._keys_wanted = self._showing = True
        poll.register(0, select.POLLIN)
        poll.register(self._master, select.POLLIN)
        self.take()

    def take(self) -> None:
        """Raw mode, and the machine's terminal as large as the host's."""
        self._screen.take()
        self.resize()

    def release(self) -> None:
        """The terminal as it was before."""
        self._screen.release()

    close = release

    def resize(self) -> None:
        """Give the machine's terminal the size of the host's."""
        try:
            _copy_size(self._master)
        except OSError as error:
            if error.errno != errno.EIO:
                raise

    def move(self, descriptor: int) -> None:
        """Carry what `descriptor` has, or what it can take."""
        if descriptor == 0:
            self._read_keys()
            return
        if self._pending:
            self._write_keys()
        self._show()

    def drain(self) -> None:
        """Show what the program wrote last. A daemon that keeps the terminal open is not waited for."""
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        while self._showing and poll.poll(50):
            self._show()

    def _read_keys(self) -> None:
        self._pending = _read(0)
        if self._pending:
            self._write_keys()
        else:
            self._poll.unregister(0)
            self._keys_wanted = False

    def _write_keys(self) -> None:
        """Write pending keys; while some are left, no more are read."""
        try:
            written = os.write(self._master, self._pending)
        except BlockingIOError:
            written = 0
        self._pending = self._pending[written:]
        if self._showing:
            self._poll.register(self._master, select.POLLIN | (select.POLLOUT if self._pending else 0))
        if self._pending and self._keys_wanted:
            self._poll.unregister(0)
        elif not self._pending:
            self._poll.register(0, select.POLLIN)
        self._keys_wanted = not self._pending

    def _show(self) -> None:
        """Write what the machine's terminal has to the host's."""
        try:
            text = _read(self._master)
        except BlockingIOError:
            return
        if not text or not _write(self._output, text):
            self._poll.unregister(self._master)
            self._showing = False


def _set_modes(modes: list[Any]) -> None:
    try:
        termios.tcsetattr(0, termios.TCSADRAIN, modes)
    except termios.error as error:
        if error.args[0] != errno.EIO:
            raise


def _read(descriptor: int) -> bytes:
    """What there is; nothing when the other end is closed."""
    try:
        return os.read(descriptor, _CHUNK)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""


def _write(descriptor: int, text: bytes) -> bool:
    """Write all of it; False when the other end is closed."""
    while text:
        try:
            text = text[os.write(descriptor, text) :]
        except BlockingIOError:
            select.select([], [descriptor], [])
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return False
    return True
