"""Runs a script in the machine: the text of the step, or a file of the host.

The script is put into a file in the machine that only its user can read, and removed afterwards, so that it can read
standard input and its text shows in no process list. One that begins with `#!` is run by the program that it names; any
other by `/bin/sh`, with `-e` when its text stands in the Envfile: the first command that fails ends it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from envup.errors import EnvupError, InterruptedByUser, TransportError
from envup.provisioner import Machine, Provisioner, Step, StepContext, StepFailed

_LINE = 72
_PREFIX = "/tmp/.envup-step-"
_NOT_RUN = {126: "it cannot be executed", 127: "a program that it needs was not found"}


class Shell(Provisioner):
    """`shell: TEXT` or `shell: {inline | script, args, user, workdir}`."""

    name = "shell"

    def reads(self, step: Step, context: StepContext) -> Sequence[Path]:
        """The script's file, if it is one."""
        script = _options(step).get("script")
        return (context.directory / script,) if script else ()

    def describe(self, step: Step) -> str:
        """The first line that does something, or the script and its arguments."""
        options = _options(step)
        line = " ".join((options.get("script") or _first_line(options["inline"]), *options.get("args", ())))
        for name in step.secrets:
            if value := step.environment.get(name):
                line = line.replace(value, "***")
        line = " ".join(line.split())
        return line if len(line) <= _LINE else f"{line[: _LINE - 1]}…"

    def run(self, step: Step, machine: Machine, context: StepContext) -> None:
        """Run the script to its end. Errors: `StepFailed` with the last lines; `TransportError`."""
        options = _options(step)
        body = _body(options, context)
        user = options.get("user") or step.user or machine.spec.user
        with self._placed(step, machine, body, user) as path:
            result = machine.run(
                (*_interpreter(body, inline="inline" in options), path, *options.get("args", ())),
                user=user,
                workdir=options.get("workdir"),
                environment=step.environment,
                check=False,
            )
        if result.exit_code:
            raise self._failed(step, result.exit_code, result.tail)

    @contextmanager
    def _placed(self, step: Step, machine: Machine, body: bytes, user: str) -> Iterator[str]:
        """The path of a file in the machine that holds the script for as long as this lasts."""
        path = f"{_PREFIX}{os.urandom(8).hex()}"
        try:
            machine.write(path, body, owner=user.partition(":")[0], mode=0o700)
        except (InterruptedByUser, TransportError):
            raise
        except EnvupError as error:
            brief = f"step '{step.name}' failed: {error.brief}"
            raise StepFailed(brief, command=self.describe(step), details=error.details, hint=error.hint) from error
        try:
            yield path
        finally:
            _remove_scripts(machine)

    def _failed(self, step: Step, code: int, tail: Sequence[str]) -> StepFailed:
        how = f"exit code {code}"
        if code in _NOT_RUN:
            how += f": {_NOT_RUN[code]}"
        elif code > 128:
            how += f": killed by signal {code - 128}"
        return StepFailed(
            f"step '{step.name}' failed with {how}",
            command=self.describe(step),
            exit_code=code,
            details="\n".join(tail),
        )


def _options(step: Step) -> Mapping[str, Any]:
    return {"inline": step.options} if isinstance(step.options, str) else step.options


def _body(options: Mapping[str, Any], context: StepContext) -> bytes:
    if "inline" in options:
        return str(options["inline"]).encode()
    path = context.directory / str(options["script"])
    try:
        return path.read_bytes()
    except OSError as error:
        raise StepFailed(f"cannot read the script {path}: {error.strerror}") from error


def _interpreter(body: bytes, *, inline: bool) -> tuple[str, ...]:
    """What runs the script, as execve(2) would find it; it need not lie where programs may be executed."""
    if body.startswith(b"\x7fELF"):
        return ()
    if body.startswith(b"#!"):
        words = body[2:].partition(b"\n")[0].decode(errors="surrogateescape").strip().split(None, 1)
        if words:
            return tuple(word.strip() for word in words)
    return ("/bin/sh", "-e") if inline else ("/bin/sh",)


def _first_line(text: str) -> str:
    lines = (line.strip() for line in text.splitlines())
    return next((line for line in lines if line and not line.startswith(("#", "set -"))), "(nothing)")


def _remove_scripts(machine: Machine) -> None:
    """This step's, and that of a step that was interrupted: no two steps run in a machine at once."""
    try:
        machine.run(("/bin/sh", "-c", f"rm -f {_PREFIX}*"), user="0", workdir="/", quiet=True)
    except InterruptedByUser:
        return
    except EnvupError as error:
        machine.emit("warning", f"the script of the step could not be removed from the machine: {error.brief}")
