"""Runs a script in the machine: the text of the step, or a file of the host, with what decides whether and how often.

One that begins with `#!` is run by the program that it names; any other by `/bin/sh`, with `-e` when its text stands in
the Envfile: the first command that fails ends it. `interpreter` names another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from envup import children
from envup.provisioner import Machine, Provisioner, Step, StepContext, StepFailed, duration, in_a_line
from envup_shell import guards, script

_NOT_RUN = {126: "it cannot be executed", 127: "a program that it needs was not found"}
_TIMED_OUT = 124
_BACKOFF, _LONGEST = "1s", 300.0
"""The first wait between two runs, and the longest in seconds."""


class Shell(Provisioner):
    """`shell: TEXT` or `shell: {inline | script, …}`, see options.schema.json."""

    name = "shell"

    def reads(self, step: Step, context: StepContext) -> Sequence[Path]:
        """The script's file, if it is one."""
        path = _options(step).get("script")
        return (context.directory / path,) if path else ()

    def programs(self, step: Step, context: StepContext) -> Sequence[Path]:
        """See `Provisioner`."""
        return self.reads(step, context)

    def describe(self, step: Step) -> str:
        """The first line that does something, or the script and its arguments."""
        options = _options(step)
        if options.get("sensitive"):
            return "(sensitive)"
        line = " ".join((options.get("script") or _first_line(options["inline"]), *options.get("args", ())))
        for name in step.secrets:
            if value := step.environment.get(name):
                line = line.replace(value, "***")
        return in_a_line(line)

    def run(self, step: Step, machine: Machine, context: StepContext) -> None:
        """Run the script to its end, where no guard says that nothing is to be done. Errors: `StepFailed` with the last
        lines; `TransportError`."""
        options = _options(step)
        body = _body(options, context)
        user = str(options.get("user") or step.user or machine.spec.user)
        how = {"user": user, "workdir": options.get("workdir"), "environment": step.environment}
        if reason := guards.needless(options, machine, how):
            machine.emit("progress", f"nothing to do: {reason}")
            return
        with script.placed(step.name, self.describe(step), machine, body, user) as path:
            argv = (*_interpreter(options, body), path, *options.get("args", ()))
            self._until_it_succeeds(step, machine, argv, how)

    def _until_it_succeeds(self, step: Step, machine: Machine, argv: Sequence[str], how: Mapping[str, Any]) -> None:
        options = _options(step)
        limit = duration(options["timeout"]) if "timeout" in options else None
        wait, left = duration(options.get("backoff", _BACKOFF)), options.get("retries", 0)
        quiet = bool(options.get("sensitive"))
        while (result := machine.run(argv, **how, check=False, timeout=limit, quiet=quiet)).exit_code:
            said = _said(result.exit_code, options)
            if not left:
                tail = () if quiet else result.tail
                raise self._failed(step, result.exit_code, said, tail)
            machine.emit("progress", f"failed with {said}; runs again in {wait:g} s, {left} times at most")
            children.pause(wait)
            wait, left = min(wait * 2, _LONGEST), left - 1

    def _failed(self, step: Step, code: int, said: str, tail: Sequence[str]) -> StepFailed:
        return StepFailed(
            f"step '{step.name}' failed with {said}",
            command=self.describe(step),
            exit_code=code,
            details="\n".join(tail),
        )


def _said(code: int, options: Mapping[str, Any]) -> str:
    if code == _TIMED_OUT and "timeout" in options:
        return f"exit code {code}: it did not end within {options['timeout']}"
    if code in _NOT_RUN:
        return f"exit code {code}: {_NOT_RUN[code]}"
    return f"exit code {code}: killed by signal {code - 128}" if code > 128 else f"exit code {code}"


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


def _interpreter(options: Mapping[str, Any], body: bytes) -> tuple[str, ...]:
    """What runs the script, as execve(2) would find it; it need not lie where programs may be executed."""
    if named := options.get("interpreter"):
        return (named,) if isinstance(named, str) else tuple(named)
    if body.startswith(b"\x7fELF"):
        return ()
    if body.startswith(b"#!"):
        words = body[2:].partition(b"\n")[0].decode(errors="surrogateescape").strip().split(None, 1)
        if words:
            return tuple(word.strip() for word in words)
    return ("/bin/sh", "-e") if "inline" in options else ("/bin/sh",)


def _first_line(text: str) -> str:
    lines = (line.strip() for line in text.splitlines())
    return next((line for line in lines if line and not line.startswith(("#", "set -"))), "(nothing)")
