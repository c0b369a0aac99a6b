"""`env logs`: what the steps and the console of a machine said."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from envup.cli.answer import print_json, write
from envup.cli.following import TAIL, follow, show, started
from envup.cli.opening import project_of
from envup.cli.options import MACHINE, Arguments, Option
from envup.errors import EnvupError, UsageError
from envup.observe import Observed
from envup.project import Project
from envup.provider import Console, HostCommand
from envup.report.text import clean
from envup.value import Value

OPTIONS = (
    Option("--follow", "go on as more is written, until interrupted", short="-f"),
    Option("--last", "only what the newest run of steps said"),
)
ARGUMENTS = (MACHINE,)

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
        return self.command or HostCommand((*TAIL, str(self.path)))


def run(arguments: Arguments) -> int:
    """Print the logs; a terminal gets them without control characters, a pipe byte for byte. 1 when the console of a
    machine is not among them because its backend does not answer."""
    if arguments.follow and (arguments.last or arguments.json):
        raise UsageError("logs: --follow goes with neither --last nor --json")
    project = project_of(arguments)
    observed = project.observe()
    logs = [
        log
        for log in _logs(project, observed, arguments.machine, arguments.follow)
        if not (arguments.last and log.kind == "console")
    ]
    if arguments.json:
        print_json({"logs": [log.as_json() for log in logs]})
        return 0
    unanswered = _warn(project, observed, arguments.machine)
    if not logs:
        raise EnvupError("there is no log yet", hint="`env up` and `env provision` write one for each machine")
    if arguments.follow:
        return follow([(f"{log.machine} {log.kind}", log.following()) for log in logs])
    for log in logs:
        if len(logs) > 1:
            write(f"==> {log.machine} {log.kind} <==\n")
        _show(log, last=arguments.last)
    return int(unanswered)


def _logs(project: Project, observed: Observed, wanted: str | None, following: bool) -> Iterator[_Log]:
    """Every log that there is."""
    files = {path.stem: path for path in project.log_directory.glob("*.log")} if project.identity.id else {}
    seen = observed.machines
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
            yield _Log(name, "console", None, provider.console(seen[name].instance, follow=following))


def _warn(project: Project, observed: Observed, wanted: str | None) -> bool:
    """Tell which wanted machines are on a backend that does not answer; whether there are any."""
    records = project.state.records(project.identity.id).machines if observed.silent else {}
    hidden = {name: observed.silent.get(record.provider) for name, record in records.items() if wanted in (None, name)}
    for name, error in hidden.items():
        if error is not None:
            sys.stderr.write(f"warning: the console of machine '{name}' is not to be had: {clean(error.brief)}\n")
    return any(hidden.values())


def _show(log: _Log, *, last: bool) -> None:
    if log.path is not None:
        with log.path.open("rb") as file:
            show(_last_run(file.read()).splitlines(keepends=True) if last else file)
    elif log.command is not None:
        with started(log.command) as process:
            assert process.stdout is not None
            show(process.stdout)
        if process.returncode:
            raise EnvupError(f"the console of machine '{log.machine}' cannot be shown")


def _last_run(log: bytes) -> bytes:
    heads = list(_HEAD.finditer(log))
    return log[heads[-1].start() :] if heads else log
