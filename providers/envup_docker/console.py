"""Prints what a container's first program has said: `console KEY=VALUE…`, and with `follow=1` what it goes on to say.

Exit code 0 at the end of it, 125 where the engine does not give it.
"""

from __future__ import annotations

import os

from envup.namespaces.signals import signal
from envup_docker import endpoint
from envup_docker.engine import Engine, EngineError
from envup_docker.streams import Frames, Whole

_CHUNK = 1 << 18


def main(arguments: list[str]) -> int:
    """See the module."""
    values = dict(argument.partition("=")[::2] for argument in arguments)
    for number in (signal.SIGPIPE, signal.SIGINT):
        if number == signal.SIGPIPE or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    try:
        _print(Engine(endpoint.parsed(values)), values["container"], follow=values["follow"] == "1")
    except EngineError as error:
        os.write(2, f"envup: {'the machine is gone' if error.status == 404 else error.message}\n".encode())
        return 125
    return 0


def _print(engine: Engine, container: str, *, follow: bool) -> None:
    terminal = engine.call("GET", f"/containers/{container}/json")["Config"]["Tty"]
    frames = Whole() if terminal else Frames()
    query = {"stdout": True, "stderr": True, "follow": follow}
    with engine.stream("GET", f"/containers/{container}/logs", query=query) as answer:
        while data := answer.read(_CHUNK):
            for descriptor, piece in frames.feed(data):
                _write(descriptor, piece)


def _write(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
