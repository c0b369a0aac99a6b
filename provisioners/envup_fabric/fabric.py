"""Runs tasks of a fabfile on the host, in a process of its own: what they print is told as output of the machine, and
nothing that they do to Python, to the working directory or to other threads reaches envup."""

from __future__ import annotations

import hashlib
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from envup.errors import EnvupError
from envup.provisioner import HostCode, Machine, Provisioner, Selection, Step, StepContext, StepFailed, in_a_line
from envup_fabric import imports
from envup_fabric.service import Service

_FILE, _PACKAGE = "fabfile.py", "fabfile"
_SETTINGS = ("fabric.yaml", "fabric.yml", "fabric.json", "fabric.py")
"""What Fabric reads beside a fabfile."""
_COMPILED = Selection((), ("__pycache__/", "*.pyc"))


class Fabric(Provisioner):
    """`fabric: TASK` or `fabric: {task | tasks, …}`, see options.schema.json."""

    name = "fabric"

    def reads(self, step: Step, context: StepContext) -> Sequence[Path | tuple[Path, Selection]]:
        """What runs on the host, and what the step lists."""
        listed = [context.directory / path for path in _options(step).get("reads", ())]
        return [*_code(step, context), *((path, _COMPILED) if path.is_dir() else path for path in listed)]

    def host_code(self, step: Step, context: StepContext) -> HostCode:
        """The fabfile: its tasks may do on the host whatever the user may."""
        return HostCode(f"runs {self.describe(step)} on this host", tuple(_code(step, context)))

    def describe(self, step: Step) -> str:
        """The tasks and their file."""
        options = _options(step)
        tasks = ", ".join(task for task, _args in _tasks(options))
        return in_a_line(f"{tasks} of {options.get('file', _PACKAGE)}")

    def run(self, step: Step, machine: Machine, context: StepContext) -> None:
        """Run the tasks until one fails. Errors: `StepFailed` with task, command, exit code and the fabfile's
        traceback; `InterruptedByUser`."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            service = Service(
                ours,
                _request(step, machine, context),
                lambda name: machine if name == machine.name else context.reach(name),
            )
            service.start()
            try:
                argv = (sys.executable, "-u", "-B", "-P", "-m", "envup_fabric.worker", str(theirs.fileno()))
                ended = machine.local(
                    argv, directory=context.directory, environment=step.environment, descriptors=(theirs.fileno(),)
                )
            finally:
                service.end()
        if service.outcome is None:
            raise StepFailed(
                f"step '{step.name}' failed: its tasks ended Python with exit code {ended.exit_code}",
                command=self.describe(step),
                exit_code=ended.exit_code,
                details="\n".join(ended.tail),
            )
        if failure := service.outcome.get("failure"):
            raise self._failed(step, machine, failure)

    def _failed(self, step: Step, machine: Machine, failure: Mapping[str, Any]) -> StepFailed:
        text = {key: machine.masked(value) for key, value in failure.items() if isinstance(value, str)}
        return StepFailed(
            f"step '{step.name}' failed: {text['brief']}",
            command=text.get("command") or self.describe(step),
            exit_code=failure.get("exit_code"),
            details=text.get("details", ""),
            hint=text.get("hint", ""),
        )


def _request(step: Step, machine: Machine, context: StepContext) -> dict[str, Any]:
    options = _options(step)
    return {
        "step": step.name,
        "file": str(_fabfile(step, context.directory)),
        "tasks": _tasks(options),
        "machines": options.get("machines", []),
        "requirements": options.get("requirements", []),
        "agreed": {str(path): _digest(path) for path in _code(step, context) if path.suffix == ".py"},
        "machine": machine.name,
        "user": step.user or machine.spec.user,
        "environment": dict(step.environment),
        "facts": dict(context.facts),
    }


def _options(step: Step) -> Mapping[str, Any]:
    return {"task": step.options} if isinstance(step.options, str) else step.options


def _tasks(options: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Names and arguments."""
    declared: list[Any] = options.get("tasks") or [options]
    told: list[dict[str, Any]] = [{"task": one} if isinstance(one, str) else one for one in declared]
    return [(one["task"], dict(one.get("args", {}))) for one in told]


def _fabfile(step: Step, directory: Path) -> Path:
    if named := _options(step).get("file"):
        return directory / str(named)
    package = directory / _PACKAGE
    return package if package.is_dir() and not (directory / _FILE).exists() else directory / _FILE


def _code(step: Step, context: StepContext) -> Sequence[Path]:
    """The fabfile, or all of the package, with what it imports beside it; Fabric's settings. A package that is not
    there is named itself."""
    file = _fabfile(step, context.directory)
    start = [file] if not file.is_dir() else imports.modules(file) or [file]
    settings = [path for name in _SETTINGS if (path := file.parent / name).exists()]
    return sorted({*start, *settings, *imports.beside(file.parent, [*start, *settings])})


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise EnvupError(f"cannot read {path}: {error.strerror}") from error
