"""One connected command, as the keeper sees it, and what it may ask for."""

from __future__ import annotations

import os

from envup.networks import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from envup.networks.keeper import Keeper
    from envup.networks.wire import Socket

    Verb = Callable[["Connection", dict[str, Any], list[int]], None]
    """Works on a request with descriptors, which are its own to close, and answers the connection by and by."""

_PATIENCE = 10.0
"""Seconds that a machine which is to be launched has for the end of its previous life."""

_VERBS = ("hello", "claim", "forward", "settle", "ended")
_RESTART = "run: env restart"


class Connection:
    """A command; it waits for each answer before it asks again. `touched` names the machines that it has begun to
    start."""

    __slots__ = ("_claiming", "_inbox", "keeper", "socket", "touched")

    def __init__(self, keeper: Keeper, socket: Socket) -> None:
        self.keeper, self.socket = keeper, socket
        self._inbox = wire.Inbox()
        self.touched: set[str] = set()
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
        self.keeper.gone(self)
        self.keeper.members.abandon(self, self.touched)

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
        if self.keeper.failure is not None:
            close(descriptors)
            self.answer(self.keeper.failure)
        elif request["verb"] in _VERBS:
            getattr(self, f"_{request['verb']}")(request, descriptors)
        elif request["verb"] in self.keeper.verbs:
            self.keeper.verbs[request["verb"]](self, request, descriptors)
        else:
            close(descriptors)
            self.answer({"error": "the environment's machines run with another version of envup", "hint": _RESTART})

    def _hello(self, _request: dict[str, Any], _descriptors: list[int]) -> None:
        self.keeper.way_out.resume()
        self.answer(self.keeper.facts())

    def _claim(self, request: dict[str, Any], _descriptors: list[int]) -> None:
        """Answer when no machine of that name runs: one may be about to end."""
        name = request["machine"]
        claim = self._claiming = object()

        def answer(message: dict[str, Any]) -> None:
            if self._claiming is claim:
                self._claiming = None
                self.answer(message)

        refusal = {"error": f"machine '{name}' runs already", "hint": "run: env stop"}
        self.keeper.loop.later(_PATIENCE, lambda: answer(refusal))
        self.keeper.members.when_ended(name, lambda: answer({}))

    def _forward(self, request: dict[str, Any], descriptors: list[int]) -> None:
        self.touched.add(request["machine"])
        target = request["address"], request["port"]
        for descriptor in descriptors:
            self.keeper.members.forward(request["machine"], descriptor, request["protocol"], target)
        self.answer({})

    def _settle(self, request: dict[str, Any], _descriptors: list[int]) -> None:
        def settle() -> None:
            failure = self.keeper.way_out.answer or {}
            if not failure and not self.keeper.members.settle(request["machine"]):
                failure = {"error": f"machine '{request['machine']}' has ended"}
            self.answer(failure)

        self.keeper.way_out.when_known(settle)

    def _ended(self, request: dict[str, Any], _descriptors: list[int]) -> None:
        self.keeper.pause_way_out(self, request["machine"])
        self.keeper.members.when_ended(request["machine"], lambda: self.answer(self.keeper.facts()))


def close(descriptors: list[int]) -> None:
    """Close all of them."""
    for descriptor in descriptors:
        os.close(descriptor)
