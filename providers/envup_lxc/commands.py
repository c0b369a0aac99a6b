"""One connected command, as the keeper sees it, and what it may ask for."""

from __future__ import annotations

import os

from envup_lxc import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from envup_lxc.keeper import Keeper
    from envup_lxc.wire import Socket

_PATIENCE = 10.0
"""Seconds that a machine which is to be launched has for the end of its previous life."""

_VERBS = ("hello", "claim", "launch", "forward", "settle", "ended")
_RESTART = "run: env restart"


class Connection:
    """A command; it waits for each answer before it asks again."""

    __slots__ = ("_claiming", "_inbox", "_keeper", "_touched", "socket")

    def __init__(self, keeper: Keeper, socket: Socket) -> None:
        self._keeper, self.socket = keeper, socket
        self._inbox = wire.Inbox()
        self._touched: set[str] = set()
        self._claiming: object = None
        socket.setblocking(False)

    def read(self) -> None:
        """Work on what has arrived."""
        try:
            there = self._inbox.receive(self.socket)
        except BlockingIOError:
            return
        except OSError:
            there = False
        for request, descriptors in self._inbox.messages():
            self._work(request, descriptors)
        if not there:
            self.end()

    def end(self) -> None:
        """The command is gone, or wants to know when the keeper is."""
        self._inbox.close()
        self._claiming = None
        self._keeper.gone(self)
        self._keeper.machines.abandon(self, self._touched)

    def stay(self) -> None:
        """Tell a command that waits for the keeper's end that there is none soon."""
        try:
            self.socket.send(b"s")
        except OSError:  # it does not wait
            return
        finally:
            self.socket.close()

    def answer(self, message: dict[str, Any]) -> None:
        """Send an answer. One that cannot be sent has nobody who waits for it."""
        try:
            wire.send(self.socket, message)
        except OSError:
            return

    def _work(self, request: dict[str, Any], descriptors: list[int]) -> None:
        if self._keeper.failure is not None:
            _close(descriptors)
            self.answer(self._keeper.failure)
        elif request["verb"] in _VERBS:
            getattr(self, f"_{request['verb']}")(request, descriptors)
        else:
            _close(descriptors)
            self.answer({"error": "the environment's machines run with another version of envup", "hint": _RESTART})

    def _hello(self, _request: dict[str, Any], _descriptors: list[int]) -> None:
        self._keeper.way_out.resume()
        self.answer(self._keeper.facts())

    def _claim(self, request: dict[str, Any], _descriptors: list[int]) -> None:
        """Answer when no machine of that name runs: one may be about to end."""
        name = request["machine"]
        claim = self._claiming = object()

        def answer(message: dict[str, Any]) -> None:
            if self._claiming is claim:
                self._claiming = None
                self.answer(message)

        refusal = {"error": f"machine '{name}' runs already", "hint": "run: env stop"}
        self._keeper.loop.later(_PATIENCE, lambda: answer(refusal))
        self._keeper.machines.when_ended(name, lambda: answer({}))

    def _launch(self, request: dict[str, Any], descriptors: list[int]) -> None:
        self._touched.add(request["machine"])
        try:
            pid, start = self._keeper.machines.launch(request["machine"], request, descriptors, self)
            self.answer({"pid": pid, "start": start})
        except OSError as error:
            self.answer({"error": f"cannot start a process for machine '{request['machine']}': {error.strerror}"})
        finally:
            _close(descriptors)

    def _forward(self, request: dict[str, Any], descriptors: list[int]) -> None:
        self._touched.add(request["machine"])
        target = request["address"], request["port"]
        for descriptor in descriptors:
            self._keeper.machines.forward(request["machine"], descriptor, request["protocol"], target)
        self.answer({})

    def _settle(self, request: dict[str, Any], _descriptors: list[int]) -> None:
        def settle() -> None:
            failure = self._keeper.way_out.answer or {}
            if not failure and not self._keeper.machines.settle(request["machine"]):
                failure = {"error": f"machine '{request['machine']}' has ended"}
            self.answer(failure)

        self._keeper.way_out.when_known(settle)

    def _ended(self, request: dict[str, Any], _descriptors: list[int]) -> None:
        self._keeper.pause_way_out(self, request["machine"])
        self._keeper.machines.when_ended(request["machine"], lambda: self.answer(self._keeper.facts()))


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
