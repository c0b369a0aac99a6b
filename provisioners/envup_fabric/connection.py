"""A `fabric.Connection` to a machine. Fabric's own runner, transfers and tunnels work on it as they are: what differs
is the client below them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fabric import Config, Connection
from fabric.connection import derive_shorthand
from fabric.runners import Remote

from envup_fabric.client import LOOPBACK, Client, Unreachable
from envup_fabric.wire import Link


class World:
    """What connections know: the way to envup, the facts, and of the step its `machine`, `user` and `environment`."""

    def __init__(self, link: Link, request: Mapping[str, Any]) -> None:
        self.link, self.facts = link, request["facts"]
        self.machine, self.user, self.environment = request["machine"], request["user"], request["environment"]

    def has(self, host: str) -> bool:
        """Whether that is a machine of the environment."""
        return host == self.machine or host in self.facts.get("machines", {})

    def user_of(self, machine: str) -> str:
        """Who runs programs there where nobody is named."""
        return str(self.user if machine == self.machine else self.facts["machines"][machine]["user"])

    def config(self) -> Config:
        """Fabric's own, with the facts as `envup`."""
        return Config(overrides={"envup": self.facts})


class MachineConnection(Connection):
    """`host` is the machine's name. `gateway`, `port`, `forward_agent`, `connect_timeout` and `connect_kwargs` mean
    nothing to it, nor does the user's configuration of SSH."""

    world: World

    def __init__(self, host: str, user: str | None = None, *more: Any, **options: Any) -> None:
        """See `fabric.Connection`."""
        named = derive_shorthand(host)
        if options.get("config") is None and len(more) < 2:
            options["config"] = self.world.config()
        super().__init__(host, user, *more, **options)
        self.host = self.original_host = named["host"]
        self.user = user or named["user"] or self.world.user_of(named["host"])
        self.gateway, self.forward_agent = None, False

    def open(self) -> None:
        """See `fabric.Connection`. Errors: `Unreachable`."""
        if not self.is_connected:
            self.client = Client(self.world.link, self.host, self.user, self.world.environment)
            self.transport = self.client.get_transport()

    def sudo(self, command: str, **options: Any) -> Any:
        """See `fabric.Connection`. The provider makes the other user, so no password is asked for, and the machine
        needs no sudo(8)."""
        self.open()
        user = options.get("user", self.config.sudo.user) or "root"
        runner = AsUser(self, str(user).removeprefix("#"), self._prefix_commands(command))
        return self._sudo(runner, command, **options)

    def _remote_runner(self) -> Remote:
        return Runner(self, inline_env=self.inline_ssh_env)

    @contextmanager
    def forward_local(
        self,
        local_port: int,
        remote_port: int | None = None,
        remote_host: str = "localhost",
        local_host: str = "localhost",
    ) -> Iterator[None]:
        """See `fabric.Connection`; ports of the machine alone. Errors: `Unreachable`, told before anything listens."""
        if remote_host not in (*LOOPBACK, self.host):
            raise Unreachable(f"machine '{self.host}': forward_local reaches its own ports only, not {remote_host}")
        self.world.link.ask("dials", machine=self.host)
        with super().forward_local(local_port, remote_port, remote_host, local_host):
            yield

    def forward_remote(self, *_where: Any, **_more: Any) -> None:
        """Refused. Errors: `Unreachable`."""
        raise Unreachable(
            f"machine '{self.host}' is not reached by SSH, so forward_remote cannot listen in it; where it runs an SSH"
            " server, Connection(<its address>) connects to that"
        )


class Runner(Remote):
    """Fabric's own. Standard input of a task is empty, but that ends no input which watchers are to answer on."""

    of_fabric = 0
    """How many watchers are not the caller's."""
    _killed = False

    @property
    def timed_out(self) -> bool:
        """Whether time was up. Fabric asks whether its timer is done, which may still wait for the program's end."""
        return self._killed

    def kill(self) -> None:
        """See `invoke.Runner`."""
        self._killed = True
        super().kill()

    def close_proc_stdin(self) -> None:
        """See `invoke.Runner`."""
        if self.streams["in"] is not sys.stdin or len(self.watchers) <= self.of_fabric:
            super().close_proc_stdin()


class AsUser(Runner):
    """Runs a line as another user. Fabric's own line, with sudo(8) in it, is what the result tells."""

    of_fabric = 1

    def __init__(self, connection: MachineConnection, user: str, line: str) -> None:
        super().__init__(connection, inline_env=connection.inline_ssh_env)
        self._user, self._line = user, line

    def start(self, _command: str, *how: Any, **more: Any) -> None:
        """See `invoke.Runner`."""
        super().start(self._line, *how, **more)

    def send_start_message(self, command: str) -> None:
        """See `fabric.runners.Remote`."""
        self.channel.become(self._user)
        super().send_start_message(command)


def install(world: World) -> None:
    """From now on `Connection(NAME)` is one to the machine of that name, wherever it is made: by a fabfile, a group or
    Fabric itself."""
    MachineConnection.world = world

    def make(cls: type[Connection], *positional: Any, **named: Any) -> Connection:
        host = positional[0] if positional else named.get("host")
        is_machine = cls is Connection and isinstance(host, str) and world.has(derive_shorthand(host)["host"])
        return object.__new__(MachineConnection if is_machine else cls)

    Connection.__new__ = make
