"""A step that does not succeed says so, in a way that helps, and never passes for one that did."""

from __future__ import annotations

import pytest

from envup.errors import EnvupError
from envup.model import Step
from envup.provisioner import StepFailed
from envup.testing.provisioners.stage import SECRET, Stage
from envup.testing.provisioners.steps import Steps
from envup.testing.subject import Subject


def test_a_failure_says_what_failed(bad: Step, stage: Stage) -> None:
    with pytest.raises(StepFailed) as caught:
        stage.run(bad)
    error = caught.value
    assert error.brief.strip() and "\n" not in error.brief
    assert error.command.strip() and "\n" not in error.command
    assert error.exit_code is None or error.exit_code != 0


def test_a_failure_names_no_value_of_a_variable(bad: Step, stage: Stage) -> None:
    with pytest.raises(StepFailed) as caught:
        stage.run(bad)
    error = caught.value
    assert not [text for text in (error.brief, error.details, error.hint, error.command) if SECRET in text]


def test_other_steps_run_after_a_failure(bad: Step, stage: Stage, declared: Steps) -> None:
    with pytest.raises(StepFailed):
        stage.run(bad)
    for good in declared.succeed:
        stage.run(good)


def test_a_step_that_is_interrupted_has_not_succeeded(good: Step, stage: Stage) -> None:
    with pytest.raises(EnvupError):
        stage.run(good, interrupted=True)


def test_a_step_on_a_machine_that_stopped_has_not_succeeded(good: Step, stage: Stage, subject: Subject) -> None:
    subject.provider.stop(stage.instance, grace=1)
    try:
        with pytest.raises(EnvupError):
            stage.run(good)
    finally:
        stage.start()
