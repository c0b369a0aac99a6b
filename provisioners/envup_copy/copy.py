"""Copies one file or directory of the host into the machine. What arrives is root's unless the step says otherwise."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from envup.errors import EnvupError, InterruptedByUser, TransportError
from envup.provisioner import Machine, Provisioner, Selection, Step, StepContext, StepFailed

_LINE = 72


class Copy(Provisioner):
    """`copy: {from, to, …}`, see options.schema.json, by cp's rules: into `to` when that is a directory or ends in
    `/`."""

    name = "copy"

    def reads(self, step: Step, context: StepContext) -> Sequence[Path | tuple[Path, Selection]]:
        """The file or directory, or what is selected in it."""
        source, selection = Path(_source(step, context)), _selection(step)
        return (source if selection is None else (source, selection),)

    def describe(self, step: Step) -> str:
        """Both paths."""
        line = f"copy {step.options['from']} to {step.options['to']}"
        return line if len(line) <= _LINE else f"{line[: _LINE - 1]}…"

    def run(self, step: Step, machine: Machine, context: StepContext) -> None:
        """Copy; what has the same name in the machine is replaced. Errors: `StepFailed`, `TransportError`."""
        options, selection = step.options, _selection(step)
        mode, source = options.get("mode"), Path(_source(step, context))
        if selection is not None and not source.is_dir():
            brief = f"step '{step.name}' failed: `include` and `exclude` are for directories, and {source} is none"
            raise StepFailed(brief, command=self.describe(step))
        if selection is not None and next(selection.below(source), None) is None:
            machine.emit("warning", f"nothing in {source} is selected by `include` and `exclude`")
        try:
            machine.send(
                _source(step, context),
                options["to"],
                owner=str(options.get("owner") or "0"),
                group=options.get("group"),
                mode=int(mode, 8) if mode else None,
                selection=selection,
            )
        except (InterruptedByUser, TransportError):
            raise
        except EnvupError as error:
            brief = f"step '{step.name}' failed: {error.brief}"
            raise StepFailed(brief, command=self.describe(step), details=error.details, hint=error.hint) from error


def _selection(step: Step) -> Selection | None:
    """None where the step names no pattern."""
    include, exclude = (step.options.get(key, ()) for key in ("include", "exclude"))
    return Selection(include, exclude) if include or exclude else None


def _source(step: Step, context: StepContext) -> str:
    """Relative to the Envfile, and as it is written: `conf/.` is not `conf`."""
    return os.path.join(context.directory, step.options["from"])  # noqa: PTH118
