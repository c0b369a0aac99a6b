"""`env logs`: what the steps and the console of a machine said."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from envup.cli.answer import print_json, write
from envup.cli.opening import project_of
from envup.cli.options import MACHINE, Arguments, Option
from envup.errors import EnvupError, UsageError
from envup.project import Project
from envup.report.text import clean
from envup.shim import give_back_signals, original_environment

OPTIONS = (
    Option("--follow", "go on as more is written, until interrupted", short="-f"),
    Option("--last", "only what the newest run of steps said"),
)
ARGUMENTS = (MACHINE,)

_FOLLOW = ("tail", "--lines=+1", "--follow=name", "--retry", "--")
"""tail(1) of GNU coreutils waits with inotify."""
_HEAD = re.compile(rb"^=== env \w+ at \S+ ===$", re.MULTILINE)


def run(arguments: Arguments) -> int:
    """Print the logs; a terminal gets them without control characters, a pipe byte for byte."""
    if arguments.follow and (arguments.last or arguments.json):
        raise UsageError("logs: --follow goes with neither --last nor --json")
    project = project_of(arguments)
    files = list(_files(project, arguments.machine))
    if arguments.json:
        print_json({"logs": [{"machine": name, "kind": kind, "path": str(path)} for name, kind, path in files]})
        return 0
    if not files:
        raise EnvupError("there is no log yet", hint="`env up` and `env provision` write one for each machine")
    if arguments.follow:
        return _follow([path for _, _, path in files])
    for _, kind, path in files:
        if arguments.last and kind == "console":
            continue
        if len(files) > 1:
            write(f"==> {path} <==\n")
        _write(_last_run(path.read_bytes()).splitlines(keepends=True) if arguments.last else path.open("rb"))
    return 0


def _files(project: Project, wanted: str | None) -> Iterator[tuple[str, str, Path]]:
    """(machine, `steps` or `console`, file) of every log that there is."""
    logs = {path.stem: path for path in project.log_directory.glob("*.log")} if project.identity.id else {}
    seen = project.observe().machines
    names = sorted({*logs, *seen})
    if wanted and wanted not in names:
        raise UsageError(
            f"there is no machine '{wanted}' with a log", hint=f"there are {', '.join(names)}" * bool(names)
        )
    for name in names:
        if wanted not in (None, name):
            continue
        if name in logs:
            yield name, "steps", logs[name]
        if name in seen:
            console = project.provider(seen[name].provider).console(seen[name].instance)
            if console is not None and console.exists():
                yield name, "console", console


def _last_run(log: bytes) -> bytes:
    heads = list(_HEAD.finditer(log))
    return log[heads[-1].start() :] if heads else log


def _write(lines: Iterable[bytes]) -> None:
    if sys.stdout.isatty():
        for line in lines:
            write(clean(line.decode(errors="replace").rstrip("\r\n")) + "\n")
        return
    sys.stdout.flush()
    sys.stdout.buffer.writelines(lines)
    sys.stdout.buffer.flush()


def _follow(paths: list[Path]) -> int:
    """Show the files as they grow. A pipe gets tail(1) itself; a terminal what tail says, cleaned."""
    argv = [*_FOLLOW, *map(str, paths)]
    try:
        if not sys.stdout.isatty():
            sys.stdout.flush()
            give_back_signals()
            os.execvpe(argv[0], argv, original_environment())
        import subprocess

        with subprocess.Popen(argv, stdout=subprocess.PIPE) as tail:
            assert tail.stdout is not None
            for line in tail.stdout:
                _write([line])
            return tail.wait()
    except OSError as error:
        raise EnvupError(f"cannot run {argv[0]}: {error.strerror}", hint="it belongs to GNU coreutils") from error
