"""Control groups that cannot be made or do not go."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from envup.errors import EnvupError
from envup.namespaces import cgroups
from envup.provider import Resources


@pytest.fixture
def group() -> Iterator[Path]:
    """One with a process in it."""
    place = cgroups.places(rootless=False)["pids"]
    made = place.base / f"envup-test-{os.getpid()}"
    made.mkdir()
    with subprocess.Popen(["sleep", "600"]) as process:
        (made / "cgroup.procs").write_text(str(process.pid))
        yield made
        process.kill()
        process.wait()
    cgroups.remove([str(made)])


@pytest.mark.root
def test_a_process_that_does_not_end_is_told(group: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those in state D do not."""
    monkeypatch.setattr(signal, "pidfd_send_signal", lambda descriptor, number: None)
    monkeypatch.setattr(cgroups, "_PATIENCE", 0.2)
    with pytest.raises(EnvupError) as raised:
        cgroups.remove([str(group)])
    assert str(group) in raised.value.brief
    assert "state D" in raised.value.hint


@pytest.mark.parametrize(("rootless", "remedy"), [(True, "Delegate=yes"), (False, "mount it")])
def test_a_controller_that_is_not_there_is_told_with_a_remedy_and_leaves_no_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rootless: bool, remedy: str
) -> None:
    """It was when the machine was checked."""
    monkeypatch.setattr(cgroups, "places", lambda *, rootless: {"cpu": cgroups.Place(tmp_path, 1)})
    with pytest.raises(EnvupError, match="controller 'memory' is not") as raised:
        cgroups.make("e-web", Resources(cpus=1, memory=1 << 20), rootless=rootless)
    assert remedy in raised.value.hint
    assert not list(tmp_path.iterdir())
