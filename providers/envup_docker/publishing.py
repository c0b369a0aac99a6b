"""Host ports that an engine could not publish, as users are told of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from envup.errors import EnvupError
from envup.provider import MachineSpec, Port
from envup_docker.failures import EngineError

_TAKEN, _NO_ADDRESS, _NOT_ALLOWED = "it is taken", "its host has no such address", "it is not allowed to"
_REASONS = {
    "port is already allocated": _TAKEN,
    "address already in use": _TAKEN,
    "cannot assign requested address": _NO_ADDRESS,
    "permission denied": _NOT_ALLOWED,
}
_SAID = re.compile(rf"(\S*):(\d+)(?: failed)?: (?:bind: )?({'|'.join(_REASONS)})")
"""`Bind for ADDRESS:PORT failed: …` of Docker's own list, `listen tcp4 ADDRESS:PORT: bind: …` of the kernel."""


@contextmanager
def telling(spec: MachineSpec) -> Iterator[None]:
    """Turns an `EngineError` of the body into what users are told, where it is about a host port of the machine."""
    try:
        yield
    except EngineError as error:
        match = _SAID.search(error.message)
        port = _port(spec, int(match[2]), error.message) if match else None
        if match is None or port is None:
            raise
        shown = f"{port.address or match[1] or '0.0.0.0'}:{port.host_port}/{port.protocol}"
        reason = _REASONS[match[3]]
        brief = f"the engine cannot forward {shown} to machine '{spec.name}': {reason}"
        raise EnvupError(brief, details=error.message, hint=_remedy(port, reason)) from error


def _port(spec: MachineSpec, number: int, message: str) -> Port | None:
    """The port of that number, of the protocol that is named, where one is."""
    found = sorted((port for port in spec.ports if port.host_port == number), key=lambda port: port.protocol)
    named = [port for port in found if f"listen {port.protocol}" in message]
    return next(iter([*named, *found]), None)


def _remedy(port: Port, reason: str) -> str:
    number = port.host_port
    if reason == _NO_ADDRESS:
        return "`ip -brief address` on the engine's host shows those it has"
    if reason == _NOT_ALLOWED:
        return f"take a higher one, or run as root: sysctl -w net.ipv4.ip_unprivileged_port_start={number}"
    query = "-ltnp" if port.protocol == "tcp" else "-lunp"
    listener = f"`ss {query} 'sport = :{number}'`, or `docker ps --filter publish={number}` for a container"
    return f"take another host port, or end what has it: {listener}"
