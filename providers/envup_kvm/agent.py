"""The agent of a machine: keeps OpenSSH's server on the way that the host has in, and a session for each request."""

from __future__ import annotations

import os
import select
import socket
import tarfile

from envup.namespaces.signals import signal
from envup_kvm import identity, server, session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

KIT = server.KIT


def main(facts: Mapping[str, Any], ready: socket.socket | None, way_in: server.WayIn | None = None) -> None:
    """Serve for ever. `ready` is where an init says that it has booted; no request is served before."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    _Agent(way_in or server.WayIn(), facts, ready).run()


class _Agent:
    def __init__(self, way_in: server.WayIn, facts: Mapping[str, Any], ready: socket.socket | None) -> None:
        self._listener = socket.socket(fileno=way_in.listener)
        self._way, self._server = way_in.way, way_in.server
        self._facts, self._ready = facts, ready
        self._told = identity.Told()
        self._epoll = select.epoll()
        self._epoll.register(self._listener if ready is None else ready, select.EPOLLIN)
        if self._server is None:
            self._await_host()
        else:
            self._epoll.register(self._server.end, select.EPOLLIN)

    def run(self) -> None:
        """Serve for ever."""
        while True:
            for descriptor, _event in self._epoll.poll():
                if descriptor == self._way:
                    self._serve_way()
                elif descriptor == self._listener.fileno():
                    self._accept()
                elif self._server is not None and descriptor == self._server.end:
                    self._forget_server(self._server)
                else:
                    self._hear_init()

    def _hear_init(self) -> None:
        """See sd_notify(3)."""
        if self._ready is not None and b"READY=1" in self._ready.recv(4096).splitlines():
            self._epoll.unregister(self._ready)
            self._ready.close()
            self._ready = None
            self._epoll.register(self._listener, select.EPOLLIN)

    def _await_host(self) -> None:
        """The kernel wakes whoever waits when the host connects or leaves; a level would be met all the time."""
        self._epoll.register(self._way, select.EPOLLIN | select.EPOLLHUP | select.EPOLLET)

    def _serve_way(self) -> None:
        """Start a server where the host speaks to one and none runs, with the keys of the machine that this is."""
        if not self._is_who_is_meant():
            return
        self._server = server.answer(self._way)
        if self._server is not None:
            self._epoll.unregister(self._way)
            self._epoll.register(self._server.end, select.EPOLLIN)

    def _is_who_is_meant(self) -> bool:
        """Where it cannot become that machine, nobody is let in, and the console says why."""
        try:
            facts = self._told.change()
        except (OSError, tarfile.TarError, ValueError) as error:
            os.write(2, f"envup: boot: fatal: the machine cannot become another: {error}\n".encode())
            return False
        if facts is not None:
            self._facts = {**facts, "kind": self._facts["kind"]}
        return True

    def _forget_server(self, ended: server.Server) -> None:
        self._epoll.unregister(ended.end)
        ended.close()
        self._await_host()
        self._serve_way()
        if self._server is None:
            server.refuse(self._way)

    def _accept(self) -> None:
        connection, _address = self._listener.accept()
        try:
            child = os.fork()
        except OSError as error:
            os.write(2, f"envup: no request can be served: {error.strerror}\n".encode())
            child = -1
        if child == 0:
            for descriptor in (self._listener.fileno(), self._way, self._epoll.fileno()):
                os.close(descriptor)
            session.serve(connection, self._facts)
        connection.close()
