"""One request to the agent of a machine, served by a process of its own: a program, a tar stream, the machine's end."""

from __future__ import annotations

import json
import os
import socket
import sys

from envup.namespaces.signals import signal
from envup_kvm import carrying, children, dialling, power, upkeep, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NoReturn


def serve(connection: socket.socket, facts: Mapping[str, Any]) -> NoReturn:
    """Serve one connection to its end."""
    try:
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _serve(connection, facts)
    except BaseException:
        sys.excepthook(*sys.exc_info())  # to the console
        os._exit(1)
    os._exit(0)


def _serve(connection: socket.socket, facts: Mapping[str, Any]) -> None:
    frames = wire.Frames()
    pending: list[tuple[int, bytes]] = []
    while not pending:
        data = connection.recv(carrying.CHUNK)
        if not data:
            return
        pending = list(frames.feed(data))
    request = json.loads(pending.pop(0)[1])
    if request["verb"] == "ready":
        connection.sendall(wire.numbered(wire.ENDED, 0))
        return
    if request["verb"] == "end":
        connection.sendall(wire.numbered(wire.ENDED, 0))
        power.off("small" if request["now"] else facts["kind"], request["grace"])
        return
    if request["verb"] in upkeep.VERBS:
        answer = json.dumps(upkeep.answer(request)).encode()
        connection.sendall(wire.frame(wire.OUTPUT, answer) + wire.numbered(wire.ENDED, 0))
        return
    if request["verb"] == "dial":
        dialling.serve(connection, request)
        return
    carrying.Carrier(connection, frames, children.Program(request, facts)).run(pending)
