"""Copies one file or directory of the host into the machine. What arrives is root's unless the step says otherwise."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from envup.errors import EnvupError, InterruptedByUser, TransportError
from envup.provisioner import Machine, Provisioner, Selection, Step, StepContext, StepFailed, in_a_line


class Copy(Provisioner):
    """`copy: {from, to, …}`, see options.schema.json, by cp's rules: into `to` when that is a directory or ends in
    `/`."""

    name = "copy"

    def reads(self, step: Step, context: StepContext) -> Sequence[Path | tuple[Path, Selection]]:
        """The file or directory, or what is selected in it; of a template also those that it names.

        Errors: `UsageError` with file and line for a template that does not hold.
        """
        source, selection = Path(_source(step, context)), _selection(step)
        if not step.options.get("template"):
            return (source if selection is None else (source, selection),)
        from envup_copy.template import named

        return named(source) if source.is_file() else (source,)

    def describe(self, step: Step) -> str:
        """Both paths."""
        return in_a_line(f"copy {step.options['from']} to {step.options['to']}")

    def run(self, step: Step, machine: Machine, context: StepContext) -> None:
        """Copy; what has the same name in the machine is replaced. Errors: `StepFailed`, `TransportError`."""
        options, selection = step.options, _selection(step)
        try:
            with _to_send(step, context) as path:
                if selection is not None:
                    _look_for_any(machine, Path(path), selection)
                machine.send(
                    path,
                    options["to"],
                    owner=str(options.get("owner") or "0"),
                    group=options.get("group"),
                    mode=int(options["mode"], 8) if options.get("mode") else None,
                    selection=selection,
                    spare=True,
                )
        except (InterruptedByUser, TransportError):
            raise
        except EnvupError as error:
            brief = f"step '{step.name}' failed: {error.brief}"
            raise StepFailed(brief, command=self.describe(step), details=error.details, hint=error.hint) from error


def _look_for_any(machine: Machine, source: Path, selection: Selection) -> None:
    if not source.is_dir():
        raise EnvupError(f"`include` and `exclude` are for directories, and {source} is none")
    if next(selection.below(source), None) is None:
        machine.emit("warning", f"nothing in {source} is selected by `include` and `exclude`")


@contextmanager
def _to_send(step: Step, context: StepContext) -> Iterator[str]:
    """The path of what is to be sent, under the name that it has in the Envfile."""
    source = _source(step, context)
    if not step.options.get("template"):
        yield source
        return
    from envup_copy.template import filled_in

    if not (path := Path(source)).is_file():
        raise EnvupError(f"a template is a file, and {source} is none")
    text = filled_in(path, _names(step, context.facts))
    with tempfile.TemporaryDirectory(prefix="envup-template-") as directory:
        made = Path(directory) / path.name
        made.touch(mode=0o600)
        made.write_text(text, encoding="utf-8")
        made.chmod(path.stat().st_mode & 0o7777)
        yield str(made)


def _names(step: Step, facts: Mapping[str, Any]) -> Mapping[str, Callable[[], Any]]:
    """What a template may name. Looked up when it does, as a step runs again when facts change that it looked at."""

    def environment() -> dict[str, str]:
        return {**facts["machine"]["environment"], **step.environment}

    return {"environment": environment, **{name: partial(facts.__getitem__, name) for name in facts}}


def _selection(step: Step) -> Selection | None:
    """None where the step names no pattern."""
    include, exclude = (step.options.get(key, ()) for key in ("include", "exclude"))
    return Selection(include, exclude) if include or exclude else None


def _source(step: Step, context: StepContext) -> str:
    """Relative to the Envfile, and as it is written: `conf/.` is not `conf`."""
    return os.path.join(context.directory, step.options["from"])  # noqa: PTH118
