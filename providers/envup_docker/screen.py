"""The terminal of the caller, while a program in a container has one of its own."""

from __future__ import annotations

import errno
import fcntl
import struct
import termios
import tty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Screen:
    """Standard input is a terminal, in raw mode from `take` to `release`. One that hung up is no error here: the kernel
    sends SIGHUP, which goes on to the program."""

    __slots__ = ("_saved",)

    def __init__(self) -> None:
        self._saved = termios.tcgetattr(0)

    def take(self) -> None:
        """Raw mode: every key is a byte for the machine."""
        _forgiving_hangup(lambda: tty.setraw(0, termios.TCSADRAIN))

    def release(self) -> None:
        """The terminal as it was before."""
        _forgiving_hangup(lambda: termios.tcsetattr(0, termios.TCSADRAIN, self._saved))

    def size(self) -> tuple[int, int]:
        """Rows and columns, 0 where they are not known."""
        try:
            rows, columns, _x, _y = struct.unpack("4H", fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))
        except OSError:
            return 0, 0
        return rows, columns


def _forgiving_hangup(change: Callable[[], None]) -> None:
    try:
        change()
    except termios.error as error:
        if error.args[0] != errno.EIO:
            raise
