"""The process that keeps the network of one environment's machines, and forwards their ports.

A provider's program of the name `keeper` calls `main`, with the verbs that are its own. Started by `starting` with the
socket it listens at as standard input. It exists while a machine runs or a command is connected. Where `own` is set it
has a network namespace with a bridge, and slirp4netns(1) for the way out; without, it stays in the host's. For an
ordinary user it is also root of a user namespace with his subordinate ids. All that it made ends with it, however it
ends: its namespaces go with the last process in them.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH108, PTH120

from __future__ import annotations

import _socket
import fcntl
import os

from envup.namespaces import records, syscalls, userns
from envup.networks import bridge, commands, slirp, wire
from envup.networks.loop import Loop
from envup.networks.members import Members
from envup.networks.way_out import WayOut

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NoReturn

    from envup.networks.wire import Socket


def main(arguments: list[str], verbs: Mapping[str, commands.Verb]) -> NoReturn:
    """Become a keeper, in a child that nobody has to wait for. `verbs` are what commands may ask for beside those of
    `commands`."""
    if os.fork():
        os._exit(0)  # at once: the command waits
    _keep(dict(argument.partition("=")[::2] for argument in arguments), verbs)


def _keep(settings: dict[str, str], verbs: Mapping[str, commands.Verb]) -> NoReturn:
    syscalls.set_process_name("envup-keeper")
    os.closerange(3, 1 << 20)
    os.chdir("/")
    os.umask(0o022)
    listener = _socket.socket(fileno=os.dup(0))
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    Keeper(listener, settings, verbs).serve()


class Keeper:
    """One keeper. `failure` is the answer to everything where it could not be set up."""

    def __init__(self, listener: Socket, settings: dict[str, str], verbs: Mapping[str, commands.Verb]) -> None:
        self._listener, self._settings, self.verbs = listener, settings, verbs
        self._log = f"{settings['socket']}.log"
        self._commands: set[commands.Connection] = set()
        self._leaving: list[commands.Connection] = []
        self.failure: dict[str, Any] | None = None
        self.loop = Loop()
        self.way_out = WayOut(self.loop, self._log)
        self.members = Members(self.loop, self._leave_if_idle)

    def serve(self) -> NoReturn:
        """Run until nobody needs this process any more."""
        try:
            self._prepare()
        except OSError as error:
            self.failure = {
                "error": f"the network of the environment's machines cannot be made: {error.strerror or error}"
            }
        self._listener.setblocking(False)
        self.loop.add(self._listener.fileno(), self._accept)
        while True:
            self.loop.turn()

    def facts(self) -> dict[str, Any]:
        """What a command is told first."""
        own = self._settings["own"] == "1"
        loopback = self._settings["host_loopback"] == "1" if own else None
        return {"pid": os.getpid(), "start": records.start_time(os.getpid()), "host_loopback": loopback}

    def gone(self, command: commands.Connection) -> None:
        """A command does not need this process any more."""
        self.loop.remove(command.socket.fileno())
        self._commands.discard(command)
        self._leaving.append(command)
        if self.members:
            self.way_out.resume()
        self.loop.soon(self._leave_if_idle)

    def _prepare(self) -> None:
        """Make the namespaces and the network. Errors: `OSError`."""
        maps = self._settings["uids"], self._settings["gids"]
        own = self._settings["own"] == "1"
        if own:
            watcher = slirp.Watcher(host_loopback=self._settings["host_loopback"] == "1")
            self.way_out = WayOut(self.loop, self._log, watcher)
        if maps[0]:
            userns.enter(*maps)
        if own:
            syscalls.unshare(syscalls.CLONE_NEWNET)
            self.way_out.open()
            bridge.make()

    def pause_way_out(self, command: commands.Connection, machine: str) -> None:
        """A command waits for a machine's end. If that is all that this process is there for, slirp4netns ends
        meanwhile: it takes as long as LXC's own cleaning."""
        if self._commands == {command} and self.members.names() == {machine}:
            self.way_out.pause()

    def _accept(self) -> None:
        try:
            command = commands.Connection(self, wire.accept(self._listener))
        except OSError:  # it has gone already
            return
        self._commands.add(command)
        self.loop.add(command.socket.fileno(), command.read)

    def _leave_if_idle(self) -> None:
        """End this process when it has nothing to do and, under the lock of those who connect, nobody comes. The lock
        goes with the process, so who finds no keeper knows that nothing of one is left. Who waits for its end sees that
        of the connection, and is told when it stays."""
        if not self._commands and not self.members:
            with _Lock(os.path.dirname(self._settings["socket"])):
                self._accept()
                if not self._commands:
                    self._leave()
        for command in self._leaving:
            command.stay()
        self._leaving.clear()

    def _leave(self) -> NoReturn:
        self.way_out.end()
        for path in (self._settings["socket"], self._log):
            try:
                os.unlink(path)
            except FileNotFoundError:
                continue
        os._exit(0)


class _Lock:
    """A directory's lock."""

    __slots__ = ("_descriptor",)

    def __init__(self, directory: str) -> None:
        self._descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)

    def __enter__(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def __exit__(self, *_error: object) -> None:
        os.close(self._descriptor)
