"""The child of a session: a program of the machine as the caller wants it, or one that makes or takes a tar stream."""

from __future__ import annotations

import fcntl
import json
import os
import tarfile
import termios

from envup.namespaces import accounts, executing, packing, unpacking
from envup.namespaces.signals import signal
from envup_kvm import mounting, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_F_SETPIPE_SZ = 1031
_PIPE = 1 << 20
"""Bytes that a pipe takes; each that is passed on costs a round through the host's processor."""


class Program:
    """A child, and the ends of its streams that are this process's: `streams` are pairs of a descriptor and the kind
    of frame that its bytes become."""

    def __init__(self, request: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        self.input, self.streams, inside = _pipes()
        self.terminal = -1
        if "size" in request:
            self._open_terminal(request, inside)
        self.pid = os.fork()
        if self.pid == 0:
            os._exit(_become(request, facts, inside, terminal=self.terminal >= 0))
        for descriptor in set(inside):
            os.close(descriptor)
        for descriptor in {self.input, *self.streams}:
            os.set_blocking(descriptor, False)
        self.end = os.pidfd_open(self.pid)

    def _open_terminal(self, request: Mapping[str, Any], inside: list[int]) -> None:
        """In place of standard input, and of the other streams that are a terminal of the caller's."""
        self.terminal, slave = os.openpty()
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, bytes.fromhex(request["size"]))
        readers = [self.input, *self.streams]
        for number, is_shown in enumerate([True, *request["shown"]]):
            if is_shown:
                os.close(readers[number])
                os.close(inside[number])
                self.streams.pop(readers[number], None)
                inside[number] = slave
        self.input = self.terminal
        self.streams[self.terminal] = wire.SCREEN


def _pipes() -> tuple[int, dict[int, int], list[int]]:
    ends = [os.pipe() for _stream in range(3)]
    for reader, _writer in ends:
        fcntl.fcntl(reader, _F_SETPIPE_SZ, _PIPE)
    (input_reader, input_writer), (output, out), (errors, err) = ends
    return input_writer, {output: wire.OUTPUT, errors: wire.ERRORS}, [input_reader, out, err]


def _become(request: Mapping[str, Any], facts: Mapping[str, Any], streams: list[int], *, terminal: bool) -> int:
    """What the child does; the exit code where it does not become the program."""
    os.setsid()
    for descriptor, source in enumerate(streams):
        os.dup2(source, descriptor)
    os.closerange(3, 1 << 16)
    if request["verb"] in ("attach", "detach"):
        return mounting.serve(request["verb"], json.loads(request["mounts"]))
    if request["verb"] != "run":
        return _transfer(request["verb"], request["path"])
    try:
        account = accounts.find(request["user"].encode("utf-8", "surrogateescape"))
        if terminal:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        for descriptor in (0, 1, 2):
            os.fchown(descriptor, account.uid, -1)
    except accounts.UnknownAccount as error:
        return executing.complain(126, str(error))
    return _execute(request, facts, account)


def _execute(request: Mapping[str, Any], facts: Mapping[str, Any], account: accounts.Account) -> int:
    os.umask(0o022)
    try:
        executing.take_on(account)
    except OSError as error:
        return executing.complain(126, f"cannot become user {account.uid}:{account.gid}: {error.strerror}")
    try:
        executing.go_to(account, _bytes(request["workdir"]))
    except OSError as error:
        return executing.complain(126, f"working directory {request['workdir']}: {error.strerror}")
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    variables = request["defaults"] | facts["environment"] | request["environment"]
    given = {_bytes(name): _bytes(value) for name, value in variables.items()}
    return executing.execute(account, [_bytes(argument) for argument in request["argv"]], given)


def _transfer(verb: str, path: str) -> int:
    """Exit code 0, or 1 with the reason on standard error; a line there with 0 is a warning."""
    os.umask(0)
    try:
        if verb == "pack":
            warnings = packing.pack(path, 1)
        else:
            with open(0, "rb", buffering=0) as stream:
                warnings = unpacking.unpack(path, stream)
    except (OSError, tarfile.TarError, EOFError, ValueError) as error:
        warnings, code = [unpacking.explain(error)], 1
    else:
        code = 0
    os.write(2, "".join(f"{warning}\n" for warning in warnings).encode("utf-8", "surrogateescape"))
    return code


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
