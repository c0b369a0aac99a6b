"""Signals for the process group of a program in a container, each sent by a small program beside it."""

from __future__ import annotations

from envup_docker.execs import Exec
from envup_docker.failures import EngineError
from envup_docker.guest import SIGNAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envup_docker.engine import Engine

GRACE = 5.0
"""Seconds between a TERM and the KILL for those of the program's group that are left."""

_NOT_ALLOWED = 3


class Target:
    """A process group: `group` in `container`, started by `user`."""

    __slots__ = ("container", "engine", "group", "user")

    def __init__(self, engine: Engine, container: str, group: str, user: str) -> None:
        self.engine, self.container, self.group, self.user = engine, container, group, user


class Errand:
    """One signal on its way, sent by root, or where root may not by the program's own user. With `grace` seconds it
    lasts until nothing of the group is left, which is killed at their end. Errors: `EngineError`."""

    __slots__ = ("_arguments", "_exec", "_target", "_users")

    def __init__(self, target: Target, signal: str, *, grace: float = 0.0) -> None:
        self._target = target
        self._arguments = (target.group, signal, str(int(grace * 20)))
        self._users = ["0"] if target.user in ("root", "0") else ["0", target.user]
        self._exec = self._start()

    def fileno(self) -> int:
        """Readable when there is something to `move`."""
        return self._exec.stream.fileno()

    def move(self) -> bool:
        """Go on after reading; False when it is done. Blocks while there is nothing to read."""
        if self._exec.stream.recv(4096):
            return True
        self._exec.stream.close()
        if self._users and self._exec.exit_code() == _NOT_ALLOWED:
            self._exec = self._start()
            return True
        return False

    def finish(self) -> None:
        """Wait until it is done."""
        while self.move():
            pass

    def _start(self) -> Exec:
        line = ("/bin/sh", "-c", SIGNAL, "envup", *self._arguments)
        return Exec(self._target.engine, self._target.container, line, user=self._users.pop(0))


def end(target: Target) -> None:
    """End the group: TERM, and KILL after the grace. A container that is gone or stopped has ended it."""
    try:
        Errand(target, "TERM", grace=GRACE).finish()
    except EngineError as error:
        if error.status not in (404, 409):
            raise
