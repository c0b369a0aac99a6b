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
