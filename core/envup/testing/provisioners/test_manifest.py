"""What an Envfile may say of the provisioner is what its manifest says."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from envup.plugins import Host
from envup.testing.provisioners import steps
from envup.testing.provisioners.steps import Steps


def test_it_goes_by_the_name_that_an_envfile_uses(host: Host, kind: str) -> None:
    assert host.provisioner(kind).name == kind


def test_an_option_that_it_does_not_have_is_refused(declared: Steps, host: Host, kind: str) -> None:
    named = [step for step in (*declared.succeed, *declared.fail) if isinstance(step.options, Mapping)]
    if not named:
        pytest.skip(f"{kind} lacks a step whose options have names")
    for step in named:
        assert steps.is_accepted(step, step.options, declared.file, host)
        assert not steps.is_accepted(step, {**step.options, "no_such_option": 1}, declared.file, host)
