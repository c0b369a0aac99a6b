"""Copies one file or directory of the host into the machine. What arrives is root's unless the step says otherwise."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from envup.errors import EnvupError, InterruptedByUser, TransportError
from envup.provisioner import Machine, Provisioner, Step, StepContext, StepFailed

_LINE = 72


class Copy(Provisioner):
    """`copy: {from, to, owner, group, mode}`, by cp's rules: into `to` when that is a directory or ends in `/`."""

    name = "copy"

    def reads(self, step: Step, context: StepContext) -> Sequence[Path]:
        """The file or directory."""
        return (Path(_source(step, context)),)

    def describe(self, step: Step) -> str:
        """Both paths."""
        line = f"copy {step.options['from']} to {step.options['to']}"
        return line if len(line) <= _LINE else f"{line[: _LINE - 1]}…"

    def run(self, step: Step, machine: Machine, context: StepContext) -> None:
        """Copy; what has the same name in the machine is replaced. Errors: `StepFailed`, `TransportError`."""
        options = step.options
        mode = options.get("mode")
        try:
            machine.send(
                _source(step, context),
                options["to"],
                owner=str(options.get("owner") or "0"),
                group=options.get("group"),
                mode=int(mode, 8) if mode else None,
            )
        except (InterruptedByUser, TransportError):
            raise
        except EnvupError as error:
            brief = f"step '{step.name}' failed: {error.brief}"
            raise StepFailed(brief, command=self.describe(step), details=error.details, hint=error.hint) from error


def _source(step: Step, context: StepContext) -> str:
    """Relative to the Envfile, and as it is written: `conf/.` is not `conf`."""
    return os.path.join(context.directory, step.options["from"])  # noqa: PTH118
