"""Finding the keeper of an environment, or starting one.

A keeper's socket lies in the runtime directory. Who connects, starts one or, as the keeper, leaves, holds that
directory's lock meanwhile; so there is never more than one, and none leaves while somebody comes.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH101, PTH108

from __future__ import annotations

import _socket
import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from envup.errors import EnvupError
from envup.namespaces import programs, subids

if TYPE_CHECKING:
    from envup.networks.wire import Socket

_BACKLOG = 128


class Place:
    """Where the socket of a keeper and its log are, or would be: one keeper for machines on the environment's own
    network, another for those on the host's. `package` is the directory of the provider's package."""

    def __init__(self, runtime: Path, environment: str, network: str, package: str) -> None:
        self.network, self.package = network, package
        self.owns_network = network == "private"
        self.directory = str(runtime)
        self.name = f"keeper-{environment}-{'private' if self.owns_network else 'host'}"
        self.socket = f"{runtime}/{self.name}"
        self.log = f"{self.socket}.log"

    @contextlib.contextmanager
    def locked(self) -> Iterator[str]:
        """Hold the lock; a path of the socket that is short enough for one. Errors: `EnvupError`."""
        directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield f"/proc/self/fd/{directory}/{self.name}"
        except OSError as error:
            raise EnvupError(f"cannot reach the keeper at {self.socket}: {error.strerror}") from error
        finally:
            os.close(directory)


def find(place: Place) -> Socket | None:
    """A connection to the keeper, None where there is none; what a killed one left is removed. Errors: `EnvupError`."""
    with place.locked() as path:
        if (connection := _connect(path)) is None:
            for left in (path, place.log):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(left)
        return connection


def connect(place: Place, *, host_loopback: bool) -> Socket:
    """A connection to the keeper, which is started where there is none. Errors: `EnvupError`."""
    maps = subids.maps() or ("", "")
    settings = [f"socket={place.socket}", f"uids={maps[0]}", f"gids={maps[1]}"]
    settings += [f"own={int(place.owns_network)}", f"host_loopback={int(host_loopback)}"]
    with place.locked() as path:
        if (connection := _connect(path)) is not None:
            return connection
        connection, starter = _start(path, place, settings)
    os.waitpid(starter, 0)
    return connection


def _connect(path: str) -> Socket | None:
    connection = _unix()
    try:
        connection.connect(path)
    except (ConnectionRefusedError, FileNotFoundError):
        connection.close()
        return None
    return connection


def _start(path: str, place: Place, settings: list[str]) -> tuple[Socket, int]:
    """Start a keeper that listens at `path`, with a connection that waits for it already: it would leave without one.
    The process that is started makes the keeper, and ends."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    with contextlib.closing(_unix()) as listener:
        listener.bind(path)
        os.chmod(path, 0o600)
        listener.listen(_BACKLOG)
        connection = _unix()
        connection.connect(path)
        line = programs.program("keeper", *settings, directory=place.package)
        return connection, _spawn(line, place.log, listener.fileno())


def _spawn(line: tuple[str, ...], log: str, listener: int) -> int:
    """Run a program in a session of its own, the listener its standard input."""
    actions = [
        (os.POSIX_SPAWN_DUP2, listener, 0),
        (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    return os.posix_spawn(line[0], line, os.environ, file_actions=actions, setsid=True)


def _unix() -> Socket:
    return _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
