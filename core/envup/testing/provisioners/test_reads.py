"""What a step reads on the host is named, all of it, so that a change of it is seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from envup import content
from envup.errors import UsageError
from envup.model import Step
from envup.provisioner import StepContext
from envup.testing.provisioners import copying
from envup.testing.provisioners.stage import Stage
from envup.testing.provisioners.steps import Steps


def test_what_is_read_is_there_and_named_in_full(good: Step, stage: Stage, declared: Steps) -> None:
    reads = stage.provisioner().reads(good, StepContext(declared.directory))
    assert all(copying.path_of(read).is_absolute() for read in reads)
    digest, noted = content.note(reads)
    assert content.unchanged(digest, noted)


def test_what_is_read_and_is_not_there_is_named_all_the_same(
    stage: Stage, declared: Steps, kind: str, tmp_path: Path
) -> None:
    here, elsewhere = StepContext(declared.directory), StepContext(tmp_path)
    provisioner = stage.provisioner()
    reading = [one for one in declared.succeed if copying.inside(provisioner.reads(one, here), declared.directory)]
    if not reading:
        pytest.skip(f"{kind} lacks a step that reads a file")
    for step in reading:
        with pytest.raises(UsageError, match="does not exist"):
            content.note(provisioner.reads(step, elsewhere))


def test_nothing_is_read_that_is_not_named(good: Step, stage: Stage, only_what_is_read: Callable[[Step], Path]) -> None:
    stage.run(good, directory=only_what_is_read(good))
