"""A step does what it does in the machine, as often as one likes, and nothing beside it."""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from envup import content
from envup.model import Step
from envup.testing import traces
from envup.testing.provisioners.stage import SECRET, Stage
from envup.testing.provisioners.steps import Steps


def test_a_step_runs_again_on_the_same_machine(good: Step, stage: Stage) -> None:
    provisioner = stage.provisioner()
    stage.run(good, provisioner)
    stage.run(good, provisioner)
    stage.run(good)


def test_a_step_runs_wherever_its_caller_stands(
    good: Step, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stage.run(good)
    assert not list(tmp_path.iterdir())


def test_a_step_leaves_the_project_as_it_is(
    good: Step, stage: Stage, only_what_is_read: Callable[[Step], Path]
) -> None:
    project = only_what_is_read(good)
    before = content.content([project])
    stage.run(good, directory=project)
    assert content.content([project]) == before


def test_a_step_leaves_no_temporary_file_on_the_host(
    step: Step, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    stage.attempt(step)
    assert not list(tmp_path.iterdir())


def test_a_step_leaves_no_process_on_the_host(step: Step, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = os.urandom(8).hex()
    with monkeypatch.context() as marked:
        marked.setenv("ENVUP_KIT_STEP", mark)
        stage.attempt(step)
    assert not traces.processes_with(mark)


def test_nothing_is_printed(step: Step, stage: Stage, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    stage.attempt(step)
    assert capfd.readouterr() == ("", "")


def test_values_of_variables_are_in_no_argument_list_of_a_step(step: Step, stage: Stage) -> None:
    stage.attempt(step)
    assert not [command for command in stage.commands if any(SECRET in word for word in command.argv)]


def test_values_of_variables_are_neither_shown_nor_logged(step: Step, stage: Stage) -> None:
    stage.attempt(step)
    assert SECRET not in repr(stage.events)
    assert SECRET.encode() not in stage.log


def test_facts_stay_as_they_are(good: Step, stage: Stage, declared: Steps) -> None:
    facts = stage.facts(declared.directory)
    known = copy.deepcopy(facts)
    stage.run(good, known=known)
    assert known == facts
