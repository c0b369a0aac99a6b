"""Why a step that succeeded is to run again though its machine and its text are the same."""

from __future__ import annotations

from collections.abc import Sequence

from envup import content, facts
from envup.model import Environment
from envup.state.records import StepRecord


def of_steps(steps: Sequence[StepRecord], environment: Environment | None, machine: str, salt: str) -> dict[int, str]:
    """By position, what is no longer as it was, in words that go on with "changed". `environment` None: there is no
    Envfile that holds."""
    found: dict[int, str] = {}
    for step in steps:
        if not content.unchanged(step.content, step.files):
            found[step.position] = f"a file that step {step.name!r} reads"
        elif environment and not facts.unchanged(step.files, environment, machine, salt):
            found[step.position] = f"what step {step.name!r} knows of the machines"
    return found
