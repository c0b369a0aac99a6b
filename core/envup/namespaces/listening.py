"""Binding a port of the host, by the command itself: what is wrong is known at once."""

from __future__ import annotations

import _socket
import contextlib
import errno
from collections.abc import Sequence
from typing import TYPE_CHECKING

from envup.errors import EnvupError
from envup.provider import Port
from envup.value import replace

if TYPE_CHECKING:
    Socket = _socket.socket

_BACKLOG = 1024
_IP_PKTINFO = 8
"""From linux/in.h; Python has no name for it."""


def refuse_taken(ports: Sequence[Port]) -> None:
    """For machines on the host's network, which bind their ports themselves: nothing is bound any more when this
    returns. Errors: as `listen`."""
    with contextlib.ExitStack() as stack:
        for port in ports:
            listen(port, stack)


def listen(port: Port, stack: contextlib.ExitStack) -> tuple[Port, list[Socket]]:
    """The port as it was settled, and its sockets, closed with `stack`. No address means every one of the host, of
    IPv6 as well where the host has it. Errors: `EnvupError` with a remedy."""
    try:
        return _listen(port, stack)
    except OSError as error:
        shown = f"{port.address or 'the host'} port {port.host_port}/{port.protocol}"
        raise EnvupError(f"cannot forward {shown}: {_reason(error)}", hint=_remedy(port, error)) from error


def _listen(port: Port, stack: contextlib.ExitStack) -> tuple[Port, list[Socket]]:
    address = port.address
    if address is None:
        try:
            bound = _bind(port, _socket.AF_INET6, "::", stack)
        except OSError as error:
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise
            bound = _bind(port, _socket.AF_INET, "0.0.0.0", stack)
    else:
        bound = _bind(port, _socket.AF_INET6 if ":" in address else _socket.AF_INET, address, stack)
    return replace(port, host_port=bound.getsockname()[1]), [bound]


def _bind(port: Port, family: int, address: str, stack: contextlib.ExitStack) -> Socket:
    stream = port.protocol == "tcp"
    opened = _socket.socket(family, _socket.SOCK_STREAM if stream else _socket.SOCK_DGRAM)
    stack.callback(opened.close)
    if family == _socket.AF_INET6:
        opened.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, int(port.address is not None))
    if stream:
        opened.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    elif family == _socket.AF_INET6:
        opened.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_RECVPKTINFO, 1)
    else:
        opened.setsockopt(_socket.IPPROTO_IP, _IP_PKTINFO, 1)
    opened.bind((address, port.host_port))
    if stream:
        opened.listen(_BACKLOG)
    return opened


def _reason(error: OSError) -> str:
    reasons = {
        errno.EADDRINUSE: "it is taken",
        errno.EACCES: "ports below 1024 are root's",
        errno.EADDRNOTAVAIL: "the host has no such address",
    }
    return reasons.get(error.errno or 0) or error.strerror or str(error)


def _remedy(port: Port, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        query = "-ltnp" if port.protocol == "tcp" else "-lunp"
        return f"take another host port, or end what listens there: ss {query} 'sport = :{port.host_port}'"
    if error.errno == errno.EACCES:
        return f"take a higher one, or run as root: sysctl -w net.ipv4.ip_unprivileged_port_start={port.host_port}"
    return "`ip -brief address` shows those it has" if error.errno == errno.EADDRNOTAVAIL else ""
