"""Asking a machine whether it is ready, until it says so or time is up."""

from __future__ import annotations

import time
from typing import Any

from envup import children
from envup.errors import EnvupError
from envup.machine import Machine
from envup.model import Probe

_FIRST_PAUSE = 0.05
"""Seconds between the first two questions; doubles up to the probe's interval. No backend tells when a program of the
user's is ready, so this one is asked again and again."""


def wait_until_ready(probe: Probe, machine: Machine, address: str) -> None:
    """Return when `probe` succeeds on `machine`, whose services are reached from the host at `address`.

    Errors: `EnvupError` with the last answer when it does not within `probe.timeout` seconds.
    """
    end, pause = time.monotonic() + probe.timeout, _FIRST_PAUSE
    while True:
        answer = _ask(probe, machine, address, max(0.1, end - time.monotonic()))
        if answer is None:
            return
        if time.monotonic() + pause >= end:
            raise EnvupError(
                f"machine '{machine.name}' was not ready within {probe.timeout:g} s",
                details=f"the last answer to {probe.kind} {probe.value}: {answer}",
                hint="look at `env logs` and at the machine with `env shell`; `ready: {timeout: …}` allows more time",
            )
        children.pause(pause)
        pause = min(pause * 2, probe.interval)


def _ask(probe: Probe, machine: Machine, address: str, limit: float) -> str | None:
    """None when ready, else what was answered."""
    if probe.kind == "command":
        return _ask_command(str(probe.value), machine, limit)
    if probe.kind == "tcp":
        return _ask_tcp(address, int(probe.value), min(limit, 5.0))
    return _ask_http(address, probe.value, min(limit, 5.0))


def _ask_command(line: str, machine: Machine, limit: float) -> str | None:
    result = machine.run(("/bin/sh", "-c", line), check=False, timeout=limit, quiet=True)
    if result.exit_code == 0:
        return None
    return "\n".join((f"exit code {result.exit_code}", *result.tail))


def _ask_tcp(address: str, port: int, limit: float) -> str | None:
    import socket

    try:
        socket.create_connection((address, port), timeout=limit).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _ask_http(address: str, question: Any, limit: float) -> str | None:
    import http.client

    connection = http.client.HTTPConnection(address, int(question["port"]), timeout=limit)
    try:
        connection.request("GET", str(question.get("path", "/")), headers={"Host": "localhost"})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
    wanted = question.get("status")
    return None if (status == wanted if wanted else 200 <= status < 400) else f"status {status}"
