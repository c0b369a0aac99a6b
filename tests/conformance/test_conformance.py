"""The providers in the box pass the conformance kit, as a provider's author would run it, as root and as an ordinary
account."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

import pytest

from envup.testing import images

TESTS = Path(__file__).parents[1]
LIMITS = {"chroot": 900, "docker": 900, "kvm": 2700, "lxc": 900}
"""Seconds that each of two runs side by side may take; virtual machines boot without acceleration."""

pytestmark = pytest.mark.slow


class Run:
    """A run of the kit for a provider in a mode, `root` or `rootless`, that has begun; `log` takes what it says."""

    def __init__(self, provider: str, mode: str, log: Path) -> None:
        kit = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--pyargs", "envup.testing"]
        line = [*kit, "--envup-provider"] if mode == "root" else [str(TESTS / "rootless.sh")]
        self._name, self._log = f"{provider}, {mode}", log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*line, provider],
                env={**os.environ, "PYTHON": sys.executable, "ENVUP_TEST_IMAGE": str(images.built())},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        """What still runs removes its machines and ends."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait()

    def check(self, limit: float) -> None:
        """No behaviour may have failed, and many must have been held."""
        code = self._process.wait(limit)
        said = self._log.read_text(errors="replace")
        assert code == 0, said[-8000:]
        found = re.search(rf"conformance: {self._name} =+\s+(\d+) behaviours held", said)
        assert found, said[-2000:]
        assert int(found[1]) >= 100


@pytest.mark.root
@pytest.mark.rootless
@pytest.mark.timeout(2 * max(LIMITS.values()) + 300)
@pytest.mark.parametrize("provider", LIMITS)
def test_a_provider_passes_the_kit_as_root_and_as_an_ordinary_account(provider: str, tmp_path: Path) -> None:
    with Run(provider, "root", tmp_path / "root") as first:
        if provider == "docker":  # layers are the engine's, so each run would see those of the other
            first.check(LIMITS[provider])
        with Run(provider, "rootless", tmp_path / "rootless") as second:
            first.check(LIMITS[provider])
            second.check(LIMITS[provider])
