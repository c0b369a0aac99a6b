"""Runs envup's command line in this process and ends it with SIGKILL at one exact point.

    killed.py KIND NUMBER FILE VERB ARGUMENT…

KIND `journal` counts, for each action, when its beginning is in the journal, when its end is about to be, and when that
is; `change` counts everything that changes a file or starts a program; `message` each request that a provider sent to
a Docker engine or an LXC keeper, before and after it is answered. At the point NUMBER (from 0) the process kills
itself. With -1 it runs to its end and writes the number of points to FILE.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHANGES = frozenset(
    (
        "fcntl.flock",
        "os.chmod",
        "os.fork",
        "os.link",
        "os.mkdir",
        "os.posix_spawn",
        "os.remove",
        "os.rename",
        "os.rmdir",
        "os.symlink",
        "os.truncate",
        "os.utime",
        "shutil.move",
        "shutil.rmtree",
        "sqlite3.connect",
        "subprocess.Popen",
        "tempfile.mkstemp",
    )
)
"""Audit events, after the audit events table of the Python documentation."""


class Points:
    """Counts points, and kills this process at one of them."""

    def __init__(self, wanted: int) -> None:
        self._wanted, self._counter, self._lock = wanted, itertools.count(), threading.Lock()
        self.seen = 0

    def pass_one(self) -> None:
        """One more point is reached."""
        with self._lock:
            number = next(self._counter)
            self.seen = number + 1
        if number == self._wanted:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, function: Callable[..., Any], *, before: bool) -> Callable[..., Any]:
        """The same function with a point behind it and, if asked for, one before."""

        def wrapped(*arguments: Any, **options: Any) -> Any:
            if before:
                self.pass_one()
            result = function(*arguments, **options)
            self.pass_one()
            return result

        return wrapped

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Audit hook: a point before each change."""
        if event in CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE):
            self.pass_one()


def place(points: Points, kind: str) -> None:
    """Put points of a kind where they belong."""
    from envup.networks import wire
    from envup.state.records import State
    from envup_docker import http

    if kind == "change":
        sys.addaudithook(points.audit)
        return
    journal = [(State, "begin", False), (State, "end", True)]
    messages = [(http.Answer, "__init__", True), (wire, "send", False), (wire.Inbox, "receive", False)]
    for owner, name, before in journal if kind == "journal" else messages:
        setattr(owner, name, points.around(getattr(owner, name), before=before))


def main() -> int:
    """See the module."""
    kind, number, file, *arguments = sys.argv[1:]
    points = Points(int(number))
    from envup.cli.main import run

    place(points, kind)
    code = run(arguments, program="envup")
    if int(number) < 0:
        Path(file).write_text(str(points.seen))
    return code


if __name__ == "__main__":
    sys.exit(main())
