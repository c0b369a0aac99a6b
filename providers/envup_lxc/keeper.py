"""The process that runs the LXC machines of one environment: their parent, the owner of their network, and the
forwarder of their ports.

Started by `starting` with the socket it listens at as standard input. It exists while a machine runs or a command is
connected. Where `own` is set it has a network namespace with a bridge, and slirp4netns(1) for the way out; without, it
stays in the host's. For an ordinary user it is also root of a user namespace with his subordinate ids. All that it made
ends with it, however it ends: its children are killed, and its namespaces go with the last process in them.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH108, PTH120, PTH123

from __future__ import annotations

import _socket
import fcntl
import os

from envup.namespaces import records, syscalls, userns
from envup_lxc import bridge, commands, machines, slirp, wire
from envup_lxc.loop import Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from envup_lxc.wire import Socket


_PATIENCE = 10.0
"""Seconds that slirp4netns has to be ready; it takes milliseconds."""


def main(arguments: list[str]) -> NoReturn:
    """Become a keeper, in a child that nobody has to wait for."""
    if os.fork():
        os._exit(0)  # at once: the command waits
    _keep(dict(argument.partition("=")[::2] for argument in arguments))


def _keep(settings: dict[str, str]) -> NoReturn:
    syscalls.set_process_name("envup-keeper")
    os.closerange(3, 1 << 20)
    os.chdir("/")
    os.umask(0o022)
    listener = _socket.socket(fileno=os.dup(0))
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    Keeper(listener, settings).serve()


class Keeper:
    """One keeper. `failure` is the answer to everything where it could not be set up. `way_out` is None until it is
    known whether the network has one, then empty or the answer that says why not."""

    def __init__(self, listener: Socket, settings: dict[str, str]) -> None:
        self._listener, self._settings = listener, settings
        self._commands: set[commands.Connection] = set()
        self._leaving: list[commands.Connection] = []
        self._watcher: slirp.Watcher | None = None
        self._wondering: list[Callable[[], None]] = []
        self._unwatched = self._paused = False
        self._started = 0
        self.way_out: dict[str, Any] | None = None
        self.failure: dict[str, Any] | None = None
        self.loop = Loop()
        self.machines = machines.Machines(self.loop, self._leave_if_idle)

    def serve(self) -> NoReturn:
        """Run until nobody needs this process any more."""
        try:
            self._prepare()
        except OSError as error:
            self.failure = {"error": f"the network of the LXC machines cannot be made: {error.strerror or error}"}
        self._listener.setblocking(False)
        self.loop.add(self._listener.fileno(), self._accept)
        while True:
            self.loop.turn()

    def facts(self) -> dict[str, Any]:
        """What a command is told first."""
        own = self._settings["own"] == "1"
        loopback = self._settings["host_loopback"] == "1" if own else None
        return {"pid": os.getpid(), "start": records.start_time(os.getpid()), "host_loopback": loopback}

    def when_way_out_is_known(self, callback: Callable[[], None]) -> None:
        """Call back when `way_out` is known."""
        if self.way_out == {} and self._unwatched and not bridge.has(slirp.DEVICE):
            self.way_out = _no_way_out(_said(self._settings["socket"]), hint="run: env restart")
        if self.way_out is None:
            self._wondering.append(callback)
        else:
            callback()

    def gone(self, command: commands.Connection) -> None:
        """A command does not need this process any more."""
        self.loop.remove(command.socket.fileno())
        self._commands.discard(command)
        self._leaving.append(command)
        if self.machines:
            self.resume_way_out()
        self.loop.soon(self._leave_if_idle)

    def _prepare(self) -> None:
        """Make the namespaces and the network. Errors: `OSError`."""
        maps = self._settings["uids"], self._settings["gids"]
        if self._settings["own"] == "1":
            self._watcher = slirp.Watcher(host_loopback=self._settings["host_loopback"] == "1")
        else:
            self.way_out = {}
        if maps[0]:
            userns.enter(*maps)
        if self._watcher is not None:
            syscalls.unshare(syscalls.CLONE_NEWNET)
            ready = self._watcher.ready
            self._start_watched(self._watcher)
            bridge.make()
            self.loop.add(ready, lambda: self._open_way_out(ready))

    def pause_way_out(self, command: commands.Connection, machine: str) -> None:
        """A command waits for a machine's end. If that is all that this process is there for, slirp4netns ends
        meanwhile: it takes as long as LXC's own cleaning."""
        alone = self._commands == {command} and self.machines.names() == {machine}
        if alone and self._watcher is not None and self.way_out == {} and not self._unwatched:
            self.way_out, self._paused = None, True
            self._watcher.pause()

    def resume_way_out(self) -> None:
        """Somebody needs the way out, which may have been paused."""
        if self._paused and self._watcher is not None:
            self._paused = False
            self._start_watched(self._watcher)

    def _start_watched(self, watcher: slirp.Watcher) -> None:
        self._started += 1
        this = self._started
        self.loop.later(_PATIENCE, lambda: self._give_up_way_out(this))
        watcher.start()

    def _open_way_out(self, ready: int) -> None:
        """Make the device of slirp4netns a port of the bridge; each new one, as it may have been run anew."""
        known, self.way_out = self.way_out, {}
        try:
            if os.read(ready, 1):
                bridge.add(slirp.DEVICE)
            else:
                self.loop.remove(ready)
                self._unwatched = True
                if known != {}:
                    self.way_out = _no_way_out(_said(self._settings["socket"]))
        except OSError as error:
            self.way_out = _no_way_out(str(error.strerror))
        self._tell_way_out()

    def _give_up_way_out(self, started: int) -> None:
        if self.way_out is None and started == self._started and not self._paused:
            self.way_out = _no_way_out(f"it was not ready after {_PATIENCE:g} s")
            self._tell_way_out()

    def _tell_way_out(self) -> None:
        for callback in self._wondering:
            callback()
        self._wondering.clear()

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
        if not self._commands and not self.machines:
            with _Lock(os.path.dirname(self._settings["socket"])):
                self._accept()
                if not self._commands:
                    self._leave()
        for command in self._leaving:
            command.stay()
        self._leaving.clear()

    def _leave(self) -> NoReturn:
        if self._watcher is not None:
            self._watcher.end()
        for path in (self._settings["socket"], f"{self._settings['socket']}.log"):
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


def _no_way_out(details: str, *, hint: str = "") -> dict[str, Any]:
    brief = f"{slirp.PROGRAM}, which takes the machines' network out, does not run"
    return {"error": brief, "details": details, "hint": hint}


def _said(socket: str) -> str:
    with open(f"{socket}.log", encoding="utf-8", errors="replace") as file:
        return file.read().strip()
