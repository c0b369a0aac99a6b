"""envup's side of a step: answers the process that runs the tasks, which knows no provider."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any

from envup.errors import EnvupError
from envup.provider import Command, Dial, Instance, dialler
from envup.provisioner import Machine
from envup_fabric import wire


class Service(threading.Thread):
    """Serves one process. `request` is what it is to do, `outcome` what it says came of it."""

    def __init__(self, connection: socket.socket, request: Mapping[str, Any], reach: Callable[[str], Machine]) -> None:
        super().__init__(name="fabric")
        self._connection, self._request, self._reach = connection, request, reach
        self.outcome: Mapping[str, Any] | None = None
        self.error: BaseException | None = None
        self._calls: Mapping[str, Callable[..., dict[str, Any]]] = {
            "request": self._hand_out,
            "outcome": self._note,
            "command": self._command,
            "dials": self._require_dial,
        }

    def run(self) -> None:
        """See `Thread`."""
        try:
            for question in wire.questions(self._connection):
                self._answer(question)
        except ConnectionError:
            return
        except BaseException as error:
            self.error = error
            self._connection.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Serve no more; what was said before has been answered. Errors: what went wrong in here."""
        self._connection.shutdown(socket.SHUT_RDWR)
        self.join()
        if self.error is not None:
            raise self.error

    def _answer(self, question: dict[str, Any]) -> None:
        handing = None
        try:
            call = question.pop("call")
            if call == "dial":
                content, handing = {}, self._dial(**question)
            else:
                content = self._calls[call](**question)
        except EnvupError as error:
            content = {"error": error.brief, "details": error.details, "hint": error.hint}
        except OSError as error:
            content = {"error": str(error), "errno": error.errno or 0}
        wire.answer(self._connection, content, handing=handing)

    def _hand_out(self) -> dict[str, Any]:
        return dict(self._request)

    def _note(self, **outcome: Any) -> dict[str, Any]:
        self.outcome = outcome
        return {}

    def _command(self, machine: str, argv: list[str], environment: dict[str, str], **how: Any) -> dict[str, Any]:
        reached = self._reach(machine)
        command = Command(tuple(argv), environment=environment, **how)
        host = reached.provider.command(reached.instance, command)
        return {"argv": list(host.argv), "environment": dict(host.environment)}

    def _require_dial(self, machine: str) -> dict[str, Any]:
        self._dialling(machine)
        return {}

    def _dial(self, machine: str, port: int) -> socket.socket:
        provider, instance = self._dialling(machine)
        return provider.dial(instance, port)

    def _dialling(self, machine: str) -> tuple[Dial, Instance]:
        reached = self._reach(machine)
        within = dialler(reached.provider, reached.instance)
        if within is None:
            raise EnvupError(
                f"provider {reached.provider.name} cannot reach ports of machine '{machine}' from the inside",
                hint="publish the port by `ports:`, or use the machine's address among its facts",
            )
        return within, reached.instance
