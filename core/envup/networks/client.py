"""A command's connection to the keeper of an environment: the process that owns the network of its machines and
forwards their ports (see `keeper`).

While a command is connected, the keeper stays. What a command has begun belongs to it until `Keeper.settle`: when the
command dies before, so does the machine, or its network.
"""

from __future__ import annotations

import _socket
import contextlib
import os
import select
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from envup.errors import EnvupError
from envup.networks import wire
from envup.networks.wire import Inbox
from envup.provider import Port

if TYPE_CHECKING:
    from envup.networks import starting
    from envup.networks.wire import Socket


_ATTEMPTS = 3
"""To reach a keeper: one that has been killed may still be there when it is connected to."""


class KeeperLost(EnvupError):
    """The keeper ended while it was asked something."""


class Keeper:
    """A connection to a keeper; made by `reach`. For one thread. `pid` and `start` name the keeper's process. Each
    provider inherits it."""

    provider: ClassVar[str]
    """The provider's name, under which an Envfile gives its options."""
    directory: ClassVar[str]
    """That of the provider's package, whose program `keeper` becomes the keeper."""

    def __init__(self, connection: Socket, place: starting.Place) -> None:
        self._connection, self._place = connection, place
        self._inbox = Inbox()
        self.pid, self.start = 0, ""

    @classmethod
    @contextlib.contextmanager
    def reach(
        cls, runtime: Path, environment: str, *, network: str = "private", host_loopback: bool = False
    ) -> Iterator[Self]:
        """Connect to the keeper of an environment's machines on that `network` (see `network`), which is started when
        there is none. Errors: `EnvupError`, also when the keeper runs with another `host_loopback`."""
        from envup.networks import starting

        place = starting.Place(runtime, environment, network, cls.directory)
        for attempt in range(_ATTEMPTS):
            connection = starting.connect(place, host_loopback=host_loopback)
            with contextlib.closing(connection):
                keeper = cls(connection, place)
                try:
                    keeper._greet(host_loopback=host_loopback)
                except KeeperLost:
                    if attempt + 1 == _ATTEMPTS:
                        raise
                    continue
                yield keeper
                return

    @classmethod
    @contextlib.contextmanager
    def ending(cls, runtime: Path, environment: str, machine: str, *, network: str = "private") -> Iterator[None]:
        """Around the wait for what is left of a machine whose programs have ended. Is left when the keeper has reaped
        it and, if that was its last, has gone with all that was the network's. Does nothing where there is no keeper.
        Errors: `EnvupError`."""
        from envup.networks import starting

        place = starting.Place(runtime, environment, network, cls.directory)
        if (connection := starting.find(place)) is None:
            yield
            return
        with contextlib.closing(connection):
            keeper = cls(connection, place)
            with contextlib.suppress(KeeperLost):
                keeper._say("ended", machine=machine)
            yield
            with contextlib.suppress(KeeperLost):
                keeper._await_leaving(keeper._answer()["pid"])

    @classmethod
    def sweep(cls, runtime: Path, environment: str) -> None:
        """Remove what killed keepers of an environment left in the runtime directory. Errors: `EnvupError`."""
        from envup.networks import starting

        for network in ("private", "host"):
            if (connection := starting.find(starting.Place(runtime, environment, network, cls.directory))) is not None:
                connection.close()

    def _greet(self, *, host_loopback: bool) -> None:
        answer = self.ask("hello")
        self.pid, self.start = answer["pid"], answer["start"]
        if answer["host_loopback"] not in (None, host_loopback):
            raise EnvupError(
                f"the running machines of this environment have {self.provider}.host_loopback "
                f"{_yes(answer['host_loopback'])}, "
                f"and this one asks for {_yes(host_loopback)}",
                hint="give all machines the same, then run: env restart",
            )

    def forward(self, machine: str, address: str, ports: Sequence[Port]) -> tuple[Port, ...]:
        """Forward ports of the host to the address of a machine that is to be launched, as long as this command is
        connected and then as long as the machine runs. The settled ports: with numbers that were chosen for 0. On the
        host's own network nothing needs to be forwarded. Errors: `EnvupError` when one is taken or not allowed; then
        none is forwarded."""
        from envup.namespaces import listening

        if self._place.network == "host":
            return tuple(ports)
        self.ask("claim", machine=machine)
        with contextlib.ExitStack() as stack:
            bound = [listening.listen(port, stack) for port in ports]
            for settled, sockets in bound:
                where = {"address": address, "port": settled.machine_port, "protocol": settled.protocol}
                self.ask("forward", [each.fileno() for each in sockets], machine=machine, **where)
            return tuple(settled for settled, _sockets in bound)

    def settle(self, machine: str) -> None:
        """Let the machine live on without this command. Returns when the way out of its network is open. To be called
        when it is recorded as ready. Errors: `EnvupError` when it has ended or its network could not be made."""
        self.ask("settle", machine=machine)

    def ask(self, verb: str, descriptors: Sequence[int] = (), **fields: Any) -> dict[str, Any]:
        """One request and its answer. Errors: `EnvupError` with what the keeper says, or what is left of it."""
        self._say(verb, descriptors, **fields)
        return self._answer()

    def _say(self, verb: str, descriptors: Sequence[int] = (), **fields: Any) -> None:
        try:
            wire.send(self._connection, {"verb": verb, **fields}, descriptors)
        except OSError:
            raise self._lost() from None

    def _answer(self) -> dict[str, Any]:
        try:
            while self._inbox.receive(self._connection):
                for answer, _none in self._inbox.messages():
                    return self._checked(answer)
        except OSError:
            raise self._lost() from None
        raise self._lost()

    def _await_leaving(self, pid: int) -> None:
        """Say that this command needs nothing more, and wait until the keeper has ended or says that it stays."""
        with contextlib.suppress(OSError), _process(pid) as ended:
            self._connection.shutdown(_socket.SHUT_WR)
            if not self._connection.recv(1):
                select.select([ended], [], [])

    def _checked(self, answer: dict[str, Any]) -> dict[str, Any]:
        if "error" in answer:
            raise EnvupError(answer["error"], details=answer.get("details", ""), hint=answer.get("hint", ""))
        return answer

    def _lost(self) -> KeeperLost:
        """The keeper is gone: killed, or ended by a bug that its log tells of."""
        said = ""
        with contextlib.suppress(OSError):
            said = Path(self._place.log).read_text(encoding="utf-8", errors="replace").strip()
        return KeeperLost(
            "the process that keeps the network of the environment's machines ended", details=said, hint="run it again"
        )


def _yes(value: bool) -> str:
    return "true" if value else "false"


@contextlib.contextmanager
def _process(pid: int) -> Iterator[int]:
    """A descriptor that is ready when the process has ended. Errors: `OSError`."""
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
