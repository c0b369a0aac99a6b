"""A step is described in one short line, in which nothing is that must not be seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from envup.model import Step
from envup.plugins import Host
from envup.testing.provisioners import steps
from envup.testing.provisioners.stage import SECRET, secretive
from envup.testing.provisioners.steps import Steps

LONGEST = 72


def test_the_description_is_one_short_line_however_long_the_options_are(
    step: Step, declared: Steps, host: Host, kind: str
) -> None:
    for one in (step, *steps.with_longer_texts(step, declared.file, host)):
        line = host.provisioner(kind)().describe(one)
        assert line == line.strip() != ""
        assert line.isprintable() and len(line) <= LONGEST, line


def test_the_description_has_no_value_of_a_variable(step: Step, host: Host, kind: str) -> None:
    assert SECRET not in host.provisioner(kind)().describe(secretive(step))


def test_the_description_needs_no_file(
    step: Step, host: Host, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = host.provisioner(kind)().describe(step)
    monkeypatch.chdir(tmp_path)
    assert host.provisioner(kind)().describe(step) == line
