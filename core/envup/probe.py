"""Asking a machine whether it is ready, until it says so or time is up."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from envup import children
from envup.errors import EnvupError
from envup.machine import Machine
from envup.model import Probe
from envup.provider import dialler

if TYPE_CHECKING:
    import socket

_FIRST_PAUSE = 0.05
"""Seconds between the first two questions; doubles up to the probe's interval. No backend tells when a program of the
user's is ready, so this one is asked again and again."""
_LEAST, _MOST = 1.0, 5.0
"""Seconds that one question may take: at least, as entering a machine takes a part of it; at most, for a connection."""


def wait_until_ready(probe: Probe, machine: Machine) -> None:
    """Return when `probe` succeeds on `machine`. Services are asked in the machine's own network where its provider
    can (`Dial`), else from the host, at the machine's address or, where it has none, at the host's loopback.

    Errors: `EnvupError` with the last answer when it does not within `probe.timeout` seconds.
    """
    end, pause = time.monotonic() + probe.timeout, _FIRST_PAUSE
    while True:
        answer = _ask(probe, machine, max(_LEAST, end - time.monotonic()))
        if answer is None:
            return
        if time.monotonic() + pause >= end:
            raise EnvupError(
                f"machine '{machine.name}' was not ready within {probe.timeout:g} s",
                details=f"the last answer to {_question(probe, machine)}: {answer}",
                hint="look at `env logs` and at the machine with `env shell`; `ready: {timeout: …}` allows more time",
            )
        children.pause(pause)
        pause = min(pause * 2, probe.interval)


def _ask(probe: Probe, machine: Machine, limit: float) -> str | None:
    """None when ready, else what was answered."""
    if probe.kind == "command":
        return _ask_command(str(probe.value), machine, limit)
    if probe.kind == "tcp":
        return _ask_tcp(machine, int(probe.value), min(limit, _MOST))
    return _ask_http(machine, probe.value, min(limit, _MOST))


def _question(probe: Probe, machine: Machine) -> str:
    """What was asked, and where."""
    if probe.kind == "command":
        return f"command {probe.value}"
    within = dialler(machine.provider, machine.instance)
    address = "localhost" if within else _address(machine)
    where = "in the machine" if within else "from the host"
    if probe.kind == "tcp":
        return f"tcp port {probe.value} of {address}, asked {where}"
    authority = f"[{address}]" if ":" in address else address
    return f"http://{authority}:{probe.value['port']}{_path(probe.value)}, asked {where}"


def _address(machine: Machine) -> str:
    return next(iter(machine.instance.addresses), "127.0.0.1")


def _path(question: Any) -> str:
    return str(question.get("path", "/"))


def _connect(machine: Machine, port: int, limit: float) -> socket.socket:
    import socket

    if within := dialler(machine.provider, machine.instance):
        return within.dial(machine.instance, port, timeout=limit)
    return socket.create_connection((_address(machine), port), timeout=limit)


def _ask_command(line: str, machine: Machine, limit: float) -> str | None:
    result = machine.run(("/bin/sh", "-c", line), check=False, timeout=limit, quiet=True)
    if result.exit_code == 0:
        return None
    return "\n".join((f"exit code {result.exit_code}", *result.tail))


def _ask_tcp(machine: Machine, port: int, limit: float) -> str | None:
    try:
        _connect(machine, port, limit).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _ask_http(machine: Machine, question: Any, limit: float) -> str | None:
    import http.client

    connection = http.client.HTTPConnection("localhost", int(question["port"]))
    try:
        connection.sock = _connect(machine, int(question["port"]), limit)
        connection.request("GET", _path(question), headers={"Host": "localhost"})
        status = connection.getresponse().status
    except OSError as error:
        return error.strerror or str(error)
    except http.client.HTTPException as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
    wanted = question.get("status")
    return None if (status == wanted if wanted else 200 <= status < 400) else f"status {status}"
