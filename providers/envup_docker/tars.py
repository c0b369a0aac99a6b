"""GNU tar in a container, at the other end of a stream."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from envup_docker.engine import Engine, EngineError
from envup_docker.execs import Exec
from envup_docker.streams import Frames

if TYPE_CHECKING:
    from envup_docker.http import Source

UNPACK = """\
case $(tar --version 2>/dev/null) in *GNU*) ;; *) echo none; exit 0 ;; esac
[ -d "$1" ] || { echo "$1: No such directory" >&2; exit 3; }
cd -- "$1" || exit 3
echo ready
umask 022
exec tar -x -f - --numeric-owner --same-owner --same-permissions --delay-directory-restore \
    --keep-directory-symlink --warning=no-unknown-keyword \
    --xattrs '--xattrs-include=user.*' --xattrs-include=security.capability '--xattrs-include=system.posix_acl_*'
"""

PACK = """\
case $(tar --version 2>/dev/null) in *GNU*) ;; *) echo none; exit 0 ;; esac
cd -- "$1" 2>/dev/null || { echo "$3: No such file or directory" >&2; exit 3; }
[ -e "$2" ] || [ -L "$2" ] || { echo "$3: No such file or directory" >&2; exit 3; }
echo ready
exec tar -c -f - --format=pax --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime --sort=name \
    --numeric-owner \
    --xattrs '--xattrs-include=user.*' --xattrs-include=security.capability '--xattrs-include=system.posix_acl_*' \
    -- "$2"
"""

_NOT_THERE = 3
_EPILOGUE = ("due to previous errors", "Error is not recoverable: exiting now")
_CHUNK = 1 << 18
_MOST_SAID = 1 << 16


class Tar:
    """A running tar, or none where `usable` is False: the container has no shell or no GNU tar. `said` is what it wrote
    to standard error."""

    def __init__(self, engine: Engine, container: str, script: str, *arguments: str) -> None:
        line = ("/bin/sh", "-c", script, "envup", *arguments)
        self._exec = Exec(engine, container, line, environment=["LC_ALL=C.UTF-8", "TAR_OPTIONS="])
        self._frames = Frames()
        self._first = b""
        self._errors = b""
        self.usable = self._opened()

    @property
    def said(self) -> str:
        """What it complained of, without its own name before each line."""
        lines = self._errors.decode(errors="replace").splitlines()
        return "\n".join(line.removeprefix("tar: ") for line in lines if line and not line.endswith(_EPILOGUE))

    def send(self, source: Source) -> None:
        """Give it all of `source`, and listen meanwhile. One that ended early is left to `exit_code`."""
        while data := source.read(_CHUNK):
            if not self._send(data):
                return
        self._exec.stream.half_close()

    def receive(self, write: Callable[[memoryview], None]) -> None:
        """Pass on its output to the end."""
        write(memoryview(self._first))
        while data := self._exec.stream.recv(_CHUNK):
            for piece in self._output(data):
                write(piece)

    def exit_code(self) -> int:
        """Wait for its end."""
        self.receive(lambda _piece: None)
        return self._exec.exit_code()

    def close(self) -> None:
        """Leave it: its standard input ends."""
        self._exec.stream.close()

    def _opened(self) -> bool:
        while b"\n" not in self._first and (data := self._exec.stream.recv(_CHUNK)):
            for piece in self._output(data):
                self._first += piece
        line, _newline, self._first = self._first.partition(b"\n")
        if line in (b"ready", b"none"):
            return line == b"ready"
        if self._exec.exit_code() == _NOT_THERE:
            return True
        if b"/bin/sh" in line:
            return False
        raise EngineError(0, line.decode(errors="replace") or "the program that copies files did not start")

    def _output(self, data: bytes) -> Iterator[memoryview]:
        for descriptor, piece in self._frames.feed(data):
            if descriptor == 1:
                yield piece
            else:
                self._errors = (self._errors + piece)[-_MOST_SAID:]

    def _send(self, data: bytes) -> bool:
        """False when it does not take any more."""
        left = memoryview(data)
        poll = select.poll()
        poll.register(self._exec.stream.fileno(), select.POLLIN | select.POLLOUT)
        while left:
            ((_descriptor, event),) = poll.poll()
            if event & ~select.POLLOUT and not self._listen():
                return False
            if event & select.POLLOUT:
                try:
                    left = left[self._exec.stream.send(left) :]
                except BlockingIOError:
                    continue
                except OSError:
                    return False
        return True

    def _listen(self) -> bool:
        """Take what it says; False when it has ended."""
        data = self._exec.stream.recv(_CHUNK)
        for _piece in self._output(data):
            pass  # It has nothing to say on standard output while it unpacks.
        return bool(data)


def write_all(descriptor: int) -> Callable[[memoryview], None]:
    """Writes all of each piece. Errors: `EngineError`."""

    def write(data: memoryview) -> None:
        try:
            while data:
                data = data[os.write(descriptor, data) :]
        except OSError as error:
            raise EngineError(0, f"what was fetched cannot be written: {error.strerror}") from error

    return write
