"""What the process that runs tasks and envup say to each other: one JSON object a line, with a descriptor where a
connection is handed over. The process asks, envup answers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

from envup.errors import EnvupError

_PIECE = 1 << 16


class Asked(EnvupError):
    """What was asked for failed on envup's side. `number` is that of an `OSError`, else 0."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(answer["error"], details=answer.get("details", ""), hint=answer.get("hint", ""))
        self.number = int(answer.get("errno", 0))


class Link:
    """The side that asks; threads take turns."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection, self._lock = connection, threading.Lock()

    def ask(self, call: str, **arguments: Any) -> dict[str, Any]:
        """The answer. Errors: `Asked`; `ConnectionError` when envup is gone."""
        answer, descriptors = self._exchange({"call": call, **arguments})
        assert not descriptors, f"{call} hands nothing over"
        return answer

    def ask_for_connection(self, call: str, **arguments: Any) -> socket.socket:
        """A connection that envup has made. Errors: as `ask`."""
        _answer, (descriptor,) = self._exchange({"call": call, **arguments})
        made = socket.socket(fileno=descriptor)
        made.setblocking(True)  # envup's end had a limit, which stays with what was handed over
        return made

    def _exchange(self, question: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        with self._lock:
            self._connection.sendall(json.dumps(question).encode() + b"\n")
            text, handed = b"", []
            while not text.endswith(b"\n"):
                data, descriptors, _flags, _address = socket.recv_fds(
                    self._connection, _PIECE, 1, socket.MSG_CMSG_CLOEXEC
                )
                handed += descriptors
                if not data:
                    raise ConnectionError("envup, which runs this task, is gone")
                text += data
        answer = json.loads(text)
        if "error" in answer:
            raise Asked(answer)
        return answer, handed


def questions(connection: socket.socket) -> Iterator[dict[str, Any]]:
    """What is asked, until the other side is gone."""
    with connection.makefile("rb") as lines:
        for line in lines:
            yield json.loads(line)


def answer(connection: socket.socket, content: dict[str, Any], *, handing: socket.socket | None = None) -> None:
    """Answer the last question; `handing` goes along, and is closed here."""
    line = json.dumps(content).encode() + b"\n"
    if handing is not None:
        with handing:
            sent = socket.send_fds(connection, [line], [handing.fileno()])
        line = line[sent:]
    connection.sendall(line)
