"""Connections into a machine's network: got from the program `dial`, or made here where that network is the host's."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Sequence

from envup.errors import TransportError
from envup.namespaces import programs

_LONGEST = 16
"""Bytes of an answer."""


def connect(way: Sequence[str], port: int, addresses: Sequence[str], *, machine: str, timeout: float) -> socket.socket:
    """See `namespaces.dial`; `way` is as `Way.arguments` gives it."""
    failure = f"machine '{machine}' cannot be reached"
    own, others = socket.socketpair()
    with own, others:
        own.settimeout(timeout)
        line = programs.program("dial", *way, "--", str(others.fileno()), f"{timeout:f}", str(port), *addresses)
        try:
            helper = subprocess.Popen(
                line,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(others.fileno(),),
                start_new_session=True,
                cwd="/",
            )
        except OSError as error:
            raise TransportError(failure, details=f"{line[0]}: {error.strerror}") from error
        with helper:
            others.close()
            try:
                answer, descriptors, _flags, _sender = socket.recv_fds(own, _LONGEST, 1, socket.MSG_CMSG_CLOEXEC)
            finally:
                helper.kill()
            said = helper.communicate()[1].decode(errors="replace").strip()
    if descriptors:
        connection = socket.socket(fileno=descriptors[0])
        connection.settimeout(timeout)
        return connection
    if answer:
        raise OSError(int(answer), os.strerror(int(answer)))
    raise TransportError(failure, details=said or "the helper was killed", hint="look at `env status`")


def connect_here(port: int, addresses: Sequence[str], *, timeout: float) -> socket.socket:
    """A connection to the first of the addresses that takes it. Errors: the `OSError` of the first."""
    failures = []
    for address in addresses:
        try:
            return socket.create_connection((address, port), timeout)
        except OSError as error:
            failures.append(error)
    raise failures[0]
