"""`env logs`: what the steps and the console of a machine said."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from envup.cli.answer import print_json, write
from envup.cli.opening import project_of
from envup.cli.options import MACHINE, Arguments, Option
from envup.errors import EnvupError, UsageError
from envup.project import Project
from envup.provider import Console, HostCommand
from envup.report.text import clean
from envup.shim import give_back_signals, original_environment
from envup.value import Value

OPTIONS = (
    Option("--follow", "go on as more is written, until interrupted", short="-f"),
    Option("--last", "only what the newest run of steps said"),
)
ARGUMENTS = (MACHINE,)

_FOLLOW = ("tail", "--lines=+1", "--follow=name", "--retry", "--")
"""tail(1) of GNU coreutils waits with inotify."""
_HEAD = re.compile(rb"^=== env \w+ at \S+ ===$", re.MULTILINE)


class _Log(Value):
    """One log: the steps' is a file, a console's is what a command of the host prints."""

    machine: str
    kind: str
    path: Path | None = None
    command: HostCommand | None = None

    def as_json(self) -> dict[str, Any]:
        where = {"command": list(self.command.argv)} if self.command else {"path": str(self.path)}
        return {"machine": self.machine, "kind": self.kind, **where}

    def following(self) -> HostCommand:
        return self.command or HostCommand((*_FOLLOW, str(self.path)))


def run(arguments: Arguments) -> int:
    """Print the logs; a terminal gets them without control characters, a pipe byte for byte."""
    if arguments.follow and (arguments.last or arguments.json):
        raise UsageError("logs: --follow goes with neither --last nor --json")
    logs = list(_logs(project_of(arguments), arguments.machine, arguments.follow))
    if arguments.json:
        print_json({"logs": [log.as_json() for log in logs]})
        return 0
    if not logs:
        raise EnvupError("there is no log yet", hint="`env up` and `env provision` write one for each machine")
    if arguments.follow:
        return _follow(logs)
    shown = [log for log in logs if not (arguments.last and log.kind == "console")]
    for log in shown:
        if len(shown) > 1:
            write(f"==> {log.machine} {log.kind} <==\n")
        _show(log, last=arguments.last)
    return 0


def _logs(project: Project, wanted: str | None, follow: bool) -> Iterator[_Log]:
    """Every log that there is."""
    files = {path.stem: path for path in project.log_directory.glob("*.log")} if project.identity.id else {}
    seen = project.observe().machines
    names = sorted({*files, *seen})
    if wanted and wanted not in names:
        raise UsageError(
            f"there is no machine '{wanted}' with a log", hint=f"there are {', '.join(names)}" * bool(names)
        )
    for name in names:
        if wanted not in (None, name):
            continue
        if name in files:
            yield _Log(name, "steps", files[name])
        provider = project.provider(seen[name].provider) if name in seen else None
        if isinstance(provider, Console) and seen[name].instance.state != "broken":
            yield _Log(name, "console", None, provider.console(seen[name].instance, follow=follow))


def _show(log: _Log, *, last: bool) -> None:
    if log.path is not None:
        _write(_last_run(log.path.read_bytes()).splitlines(keepends=True) if last else log.path.open("rb"))
    elif log.command is not None:
        with _started(log.command) as process:
            assert process.stdout is not None
            _write(process.stdout)
        if process.returncode:
            raise EnvupError(f"the console of machine '{log.machine}' cannot be shown")


def _last_run(log: bytes) -> bytes:
    heads = list(_HEAD.finditer(log))
    return log[heads[-1].start() :] if heads else log


def _write(lines: Iterable[bytes], before: bytes = b"") -> None:
    if sys.stdout.isatty():
        for line in lines:
            write(before.decode() + clean(line.decode(errors="replace").rstrip("\r\n")) + "\n")
        return
    sys.stdout.flush()
    for line in lines:
        sys.stdout.buffer.write(before + line)
        if before:
            sys.stdout.buffer.flush()
    sys.stdout.buffer.flush()


def _started(command: HostCommand) -> subprocess.Popen[bytes]:
    environment = {**original_environment(), **command.environment}
    try:
        return subprocess.Popen(command.argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment)
    except OSError as error:
        raise _cannot_run(command, error) from error


def _cannot_run(command: HostCommand, error: OSError) -> EnvupError:
    hint = "it belongs to GNU coreutils" if command.argv[0] == _FOLLOW[0] else ""
    return EnvupError(f"cannot run {command.argv[0]}: {error.strerror}", hint=hint)


def _follow(logs: Sequence[_Log]) -> int:
    """Show the logs as they grow: one alone byte for byte by its command itself, several with a name before each
    line."""
    if len(logs) == 1 and not sys.stdout.isatty():
        command = logs[0].following()
        sys.stdout.flush()
        give_back_signals()
        try:
            os.execvpe(command.argv[0], list(command.argv), {**original_environment(), **command.environment})
        except OSError as error:
            raise _cannot_run(command, error) from error
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with contextlib.ExitStack() as stack:
        shown = [stack.enter_context(_started(log.following())) for log in logs]
        try:
            return _relay(logs, shown)
        finally:
            for process in shown:
                process.terminate()


def _relay(logs: Sequence[_Log], processes: Sequence[subprocess.Popen[bytes]]) -> int:
    from threading import Thread

    def relay(log: _Log, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        _write(process.stdout, f"{log.machine} {log.kind}| ".encode() if len(logs) > 1 else b"")

    threads = [
        Thread(target=relay, args=pair, daemon=True, name=f"log of {pair[0].machine}")
        for pair in zip(logs, processes, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return max(process.wait() for process in processes)
