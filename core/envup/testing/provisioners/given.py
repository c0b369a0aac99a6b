"""What the command line gives a run of the kit: the provisioner and its steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from envup.errors import EnvupError
from envup.home import Home
from envup.plugins import Host
from envup.testing.provisioners import steps
from envup.testing.provisioners.steps import Steps

HOST = pytest.StashKey[Host]()
STEPS = pytest.StashKey[Steps]()


def take(config: pytest.Config) -> None:
    """Read the steps, before any case is collected. Errors: `pytest.UsageError`."""
    file = config.getoption("envup_steps")
    if not file:
        raise pytest.UsageError("envup.testing needs steps of the provisioner: --envup-steps FILE")
    config.stash[HOST] = Host(Home.locate().make())
    try:
        config.stash[STEPS] = steps.read(Path(file), kind_of(config), config.stash[HOST])
    except EnvupError as error:
        raise pytest.UsageError("\n".join(filter(None, (error.brief, error.details, error.hint)))) from error


def kind_of(config: pytest.Config) -> str:
    """The name of the provisioner under test."""
    return str(config.getoption("envup_provisioner"))
