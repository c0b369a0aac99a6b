"""OpenSSH's server in a machine: the way in that it serves, and where it passes connections on to.

The way is a port of virtio-serial: a file that only this host's owner of the machine can speak into. The server runs in
the kit as its root directory and does nothing but pass on connections to the agent's socket. It is started before
anything else is loaded, as it takes as long to start as the agent does.
"""

# os rather than pathlib, _socket rather than socket: they take longer to load than all of this.
# ruff: noqa: PTH101, PTH123, PTH208

from __future__ import annotations

import _socket
import os
import select

from envup.namespaces.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

PORT = "org.envup.way"
"""Name of the virtio-serial port."""
KIT = "/run/envup/kit"
SOCKET = "facts/agent"
"""Where the agent listens, below the kit."""
_BEGIN = b"SSH-2.0-"
"""What a client says first, RFC 4253, section 4.2."""
_LINE = ("/usr/sbin/sshd", "-i", "-e", "-f", "/facts/sshd_config")


def listen() -> int:
    """The descriptor of the agent's socket. Who connects waits for the agent. Errors: `OSError`."""
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    listener.bind(f"{KIT}/{SOCKET}")
    os.chmod(f"{KIT}/{SOCKET}", 0o600)
    listener.listen(128)
    return listener.detach()


def open_port() -> int:
    """The descriptor of the way in. Errors: `OSError`."""
    ports = "/sys/class/virtio-ports"
    for name in os.listdir(ports):
        with open(f"{ports}/{name}/name", encoding="ascii") as file:
            if file.read().strip() == PORT:
                return os.open(f"/dev/{name}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    raise FileNotFoundError(f"no virtio-serial port is named {PORT}")


class Server:
    """One that runs, and the descriptor of a process that is ready when it has ended. `said` is what the host has said
    to it already."""

    def __init__(self, way: int, said: bytes) -> None:
        self._way = way
        self._group = _start(way, said)
        self.end = os.pidfd_open(self._group)

    def close(self) -> None:
        """After its end."""
        os.close(self.end)
        _end_group(self._group)
        os.set_blocking(self._way, False)


def _end_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return  # nothing of it is left


def answer(way: int, *, silent: bool = False) -> Server | None:
    """A server, where the host has begun to speak to one; with `silent` also where it is connected. What it says else
    was meant for one that is gone."""
    said, is_connected = b"", False
    try:
        while part := os.read(way, 65536):
            said += part
    except BlockingIOError:
        is_connected = True
    at = said.rfind(_BEGIN)
    if at >= 0:  # also of a host that the kernel has not seen come yet
        return Server(way, said[at:])
    if is_connected and silent:
        return Server(way, b"")
    if said:
        refuse(way)
    return None


def refuse(way: int) -> None:
    """Have the host, if it is connected, connect anew: its client ends at a zero in front of the server's first line,
    and at a packet without a length. A machine is not told that the host left when it is back at once, and what it said
    then has gone to the server of before."""
    poll = select.poll()
    poll.register(way, 0)
    if not poll.poll(0):
        try:
            os.write(way, bytes(64))
        except BlockingIOError:
            return  # it does not listen


class WayIn:
    """What is opened before the agent is there to serve it."""

    def __init__(self) -> None:
        self.listener = listen()
        self.way = open_port()
        # A client from before the machine restarted itself waits for ever, unless it hears what it does not understand.
        self.server = answer(self.way, silent=True)


def _start(way: int, said: bytes) -> int:
    """Its process. It leads a group with the two that carry its streams, as it may not have the port itself: it polls
    its input and its output apart, and what arrives between the two wakes nobody, as the kernel's driver takes it from
    the queue when it is polled and the interrupt then finds the queue empty (drivers/char/virtio_console.c)."""
    os.set_blocking(way, True)
    to_server, from_server = os.pipe(), os.pipe()
    os.write(to_server[1], said)
    server = _forked(_LINE, (to_server[0], from_server[1]), 0, root=KIT)
    for streams in (way, to_server[1]), (from_server[0], way):
        _forked((f"{KIT}/busybox", "cat"), streams, server)
    for descriptor in (*to_server, *from_server):
        os.close(descriptor)
    return server


def _forked(line: tuple[str, ...], streams: tuple[int, int], group: int, *, root: str = "/") -> int:
    """A new process in a process group, or in one of its own. What it complains of is on the console."""
    child = os.fork()
    if child == 0:
        _become(line, streams, group, root)
    try:
        os.setpgid(child, group or child)
    except (PermissionError, ProcessLookupError):
        return child  # it has executed its program, or ended, and was quicker to do the same
    return child


def _become(line: tuple[str, ...], streams: tuple[int, int], group: int, root: str) -> NoReturn:
    """Only a child does this."""
    os.setpgid(0, group)
    for number in (signal.SIGPIPE, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    console = os.open("/dev/console", os.O_WRONLY | os.O_NOCTTY)
    for descriptor, source in enumerate((*streams, console)):
        os.dup2(source, descriptor)
    os.chroot(root)
    os.chdir("/")
    os.closerange(3, 1 << 10)
    os.execve(line[0], line, {"PATH": "/usr/sbin:/usr/bin", "LANG": "C"})
