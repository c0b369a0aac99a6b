"""The agent of a machine: starts OpenSSH's server on the way that the host has in, and a session for each request.

The way is a port of virtio-serial: a file that only this host's owner of the machine can speak into. OpenSSH's server
runs in the kit as its root directory and does nothing but pass on connections to the agent's socket.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH101, PTH123, PTH208

from __future__ import annotations

import os
import select
import socket

from envup.namespaces import syscalls
from envup.namespaces.signals import signal
from envup_kvm import session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NoReturn

PORT = "org.envup.way"
"""Name of the virtio-serial port."""
KIT = "/run/envup/kit"
SOCKET = "facts/agent"
"""Where the agent listens, below the kit."""
_SERVER = ("/usr/sbin/sshd", "-i", "-e", "-f", "/facts/sshd_config")


def main(facts: Mapping[str, Any], ready: socket.socket | None) -> None:
    """Serve for ever. `ready` is where an init says that it has booted; nobody is let in before."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(f"{KIT}/{SOCKET}")
    os.chmod(f"{KIT}/{SOCKET}", 0o600)
    listener.listen(128)
    if ready is not None:
        while b"READY=1" not in ready.recv(4096).splitlines():
            pass
    _Agent(listener, facts).run()


def port() -> str:
    """The device of the way in. Errors: `OSError`."""
    ports = "/sys/class/virtio-ports"
    for name in os.listdir(ports):
        with open(f"{ports}/{name}/name", encoding="ascii") as file:
            if file.read().strip() == PORT:
                return f"/dev/{name}"
    raise FileNotFoundError(f"no virtio-serial port is named {PORT}")


class _Agent:
    def __init__(self, listener: socket.socket, facts: Mapping[str, Any]) -> None:
        self._listener, self._facts = listener, facts
        self._way = os.open(port(), os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._server = -1
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        self._children = syscalls.signalfd(frozenset({signal.SIGCHLD}))
        self._epoll = select.epoll()
        for descriptor in (listener.fileno(), self._children):
            self._epoll.register(descriptor, select.EPOLLIN)
        self._watch_way()

    def run(self) -> None:
        """Serve for ever."""
        while True:
            for descriptor, _event in self._epoll.poll():
                if descriptor == self._listener.fileno():
                    self._accept()
                elif descriptor == self._children:
                    self._reap()
                else:
                    self._serve_way()

    def _watch_way(self) -> None:
        """The kernel wakes whoever waits when the host connects or leaves; a level would be met all the time."""
        self._epoll.register(self._way, select.EPOLLIN | select.EPOLLHUP | select.EPOLLET)

    def _serve_way(self) -> None:
        """Start a server where the host has said something and none runs."""
        poll = select.poll()
        poll.register(self._way, select.POLLIN)
        if [event for _way, event in poll.poll(0)] != [select.POLLIN]:
            return
        self._epoll.unregister(self._way)
        self._server = _start_server(self._way)

    def _reap(self) -> None:
        os.read(self._children, 128)
        try:
            while (ended := os.waitpid(-1, os.WNOHANG)[0]) > 0:
                if ended == self._server:
                    self._forget_server()
        except ChildProcessError:
            return

    def _forget_server(self) -> None:
        """What the server has not read any more was meant for nobody else."""
        os.killpg(self._server, signal.SIGKILL)
        os.set_blocking(self._way, False)
        try:
            while os.read(self._way, 65536):
                pass
        except BlockingIOError:
            pass  # all of it was read
        self._watch_way()

    def _accept(self) -> None:
        connection, _address = self._listener.accept()
        if os.fork() == 0:
            for descriptor in (self._listener.fileno(), self._way, self._children, self._epoll.fileno()):
                os.close(descriptor)
            session.serve(connection, self._facts)
        connection.close()


def _start_server(way: int) -> int:
    """Its process, which leads a group with two that carry its streams. It may not have the port itself: it polls its
    input and its output apart, and what arrives between the two wakes nobody, as the kernel's driver takes it from the
    queue when it is polled and the interrupt then finds the queue empty (drivers/char/virtio_console.c)."""
    os.set_blocking(way, True)
    to_server, from_server = os.pipe(), os.pipe()
    server = _forked(_SERVER, (to_server[0], from_server[1]), 0, root=KIT)
    for streams in ((way, to_server[1]), (from_server[0], way)):
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
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    console = os.open("/dev/console", os.O_WRONLY | os.O_NOCTTY)
    for descriptor, source in enumerate((*streams, console)):
        os.dup2(source, descriptor)
    os.chroot(root)
    os.chdir("/")
    os.closerange(3, 1 << 10)
    os.execve(line[0], line, {"PATH": "/usr/sbin:/usr/bin", "LANG": "C"})
