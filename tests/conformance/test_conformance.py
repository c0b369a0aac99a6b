"""The providers in the box pass the conformance kit, as a provider's author would run it, as root and as an ordinary
account."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from envup.testing import images

TESTS = Path(__file__).parents[1]
PROVIDERS = ("chroot", "docker", "lxc")
LIMIT = 900
"""Seconds that one run may take on a busy machine."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(LIMIT + 300)]


def held(command: Sequence[str | Path], provider: str, mode: str) -> int:
    """How many behaviours held in a run of the kit, none of which may have failed."""
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHON": sys.executable, "ENVUP_TEST_IMAGE": str(images.built())},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode == 0, done.stdout[-8000:]
    found = re.search(rf"conformance: {provider}, {mode} =+\s+(\d+) behaviours held", done.stdout)
    assert found, done.stdout[-2000:]
    return int(found[1])


@pytest.mark.root
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_provider_passes_the_kit_as_root(provider: str) -> None:
    kit = ["-m", "pytest", "-p", "no:cacheprovider", "--pyargs", "envup.testing", "--envup-provider", provider]
    assert held([sys.executable, *kit], provider, "root") >= 100


@pytest.mark.rootless
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_provider_passes_the_kit_as_an_ordinary_account(provider: str) -> None:
    assert held([TESTS / "rootless.sh", provider], provider, "rootless") >= 100
