"""The contract of a provisioner: the plugin that configures a running machine, one step at a time. `duration` gives the
seconds of a text such as `5m`, `Selection` the files of a directory that patterns name, `in_a_line` a description."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from envup.envfile.units import duration
from envup.errors import EnvupError
from envup.machine import Machine
from envup.model import HostCode, Step
from envup.selection import Selection
from envup.value import NOTHING, Value

__all__ = [
    "HostCode",
    "Machine",
    "Provisioner",
    "Selection",
    "Step",
    "StepContext",
    "StepFailed",
    "duration",
    "in_a_line",
]


_LINE = 72
"""Characters that a step is described in at most."""


def in_a_line(text: str) -> str:
    """The text as `Provisioner.describe` gives it: in one line, cut where it is too long."""
    line = " ".join(text.split())
    return line if len(line) <= _LINE else f"{line[: _LINE - 1]}…"


class StepFailed(EnvupError):
    """A step did not succeed. `command` is what it ran, as a reader would write it; `exit_code` None where there is
    none; `log` the file that the engine kept its output in."""

    def __init__(
        self, brief: str, *, command: str = "", exit_code: int | None = None, details: str = "", hint: str = ""
    ) -> None:
        super().__init__(brief, details=details, hint=hint)
        self.command = command
        self.exit_code = exit_code
        self.log = ""


def _no_other(name: str) -> Machine:
    raise EnvupError(f"there is no machine '{name}' here")


class StepContext(Value):
    """Where a step runs from: `directory` is the Envfile's, to which the paths in `step.options` are relative; `facts`
    what it may know of its machine and of the others, see `envup.facts`: put together when it is looked at, nothing
    before the step runs. `reach` gives any machine of the environment that runs by its name, for the time of the step;
    `EnvupError` for one that does not."""

    directory: Path
    facts: Mapping[str, Any] = NOTHING
    reach: Callable[[str], Machine] = _no_other


class Provisioner(ABC):
    """Runs steps of one kind. Has no state of its own; the same step may run again on the same machine."""

    name: ClassVar[str]

    def reads(self, step: Step, context: StepContext) -> Sequence[Path | tuple[Path, Selection]]:
        """Files and directories on the host whose content the step depends on, or what is selected in a directory; the
        engine digests them. Those that do not exist are listed too and are an error before anything runs."""
        return ()

    def programs(self, step: Step, context: StepContext) -> Sequence[Path]:
        """Those of the files in its `reads` that are run in the machine: what they name there counts as named by the
        step."""
        return ()

    def host_code(self, step: Step, context: StepContext) -> HostCode | None:
        """What the step runs on the host rather than in the machine, None where it runs nothing there. The user is
        asked before, and again when the step or what is in its `reads` has changed. Runs nothing."""
        return None

    @abstractmethod
    def describe(self, step: Step) -> str:
        """The step in one line of at most 72 characters, without values of `step.environment`."""

    @abstractmethod
    def run(self, step: Step, machine: Machine, context: StepContext) -> None:
        """Carry the step out. Returns when it succeeded. Errors: `StepFailed`."""
