"""Gives the cases about provisioners their steps and machines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from envup.model import Step
from envup.plugins import Host
from envup.provisioner import StepContext
from envup.testing.provisioners import copying, given
from envup.testing.provisioners.stage import Stage
from envup.testing.provisioners.steps import Steps
from envup.testing.subject import ENVIRONMENT, Subject


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each behaviour is held by every step: `good` are those that succeed, `bad` those that fail, `step` all."""
    for name, parts in {"good": ("succeed",), "bad": ("fail",), "step": ("succeed", "fail")}.items():
        if name in metafunc.fixturenames:
            found = [one for part in parts for one in getattr(metafunc.config.stash[given.STEPS], part)]
            metafunc.parametrize(name, found, ids=[one.name for one in found])


@pytest.fixture(scope="session")
def kind(request: pytest.FixtureRequest) -> str:
    """The name of the provisioner under test."""
    return given.kind_of(request.config)


@pytest.fixture(scope="session")
def declared(request: pytest.FixtureRequest) -> Steps:
    """What the file of steps says."""
    return request.config.stash[given.STEPS]


@pytest.fixture(scope="session")
def host(request: pytest.FixtureRequest) -> Host:
    """The plugins that are installed."""
    return request.config.stash[given.HOST]


@pytest.fixture(scope="module")
def subject(request: pytest.FixtureRequest, subjects: Callable[[str], Subject]) -> Subject:
    """The provider of the machines."""
    return subjects(request.config.getoption("envup_provider") or "chroot")


@pytest.fixture(scope="module")
def stage(subject: Subject, request: pytest.FixtureRequest, declared: Steps, host: Host, kind: str) -> Iterator[Stage]:
    """A machine that the cases of one module share."""
    name = request.module.__name__.rpartition("test_")[2]
    spec = subject.spec(name)
    with subject.running(spec, environment=f"{ENVIRONMENT}p") as instance:
        yield Stage(subject.provider, instance, spec, declared, host, kind)


@pytest.fixture
def only_what_is_read(declared: Steps, stage: Stage, tmp_path: Path) -> Callable[[Step], Path]:
    """Makes a directory that has nothing of the steps' own but what a step says that it reads."""

    def make(step: Step) -> Path:
        target = tmp_path / "project"
        target.mkdir()
        reads = stage.provisioner().reads(step, StepContext(declared.directory))
        copying.copy_reads(reads, declared.directory, target)
        return target

    return make
