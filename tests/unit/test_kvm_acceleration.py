"""Whether machines are accelerated, found out by a guest that runs once, and what is told where they are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from envup.errors import EnvupError
from envup.model import ImageReference
from envup.provider import MachineSpec
from envup_kvm import acceleration
from envup_kvm.kits import Kit

NOTHING = Path("/nothing")
KIT = Kit(NOTHING, NOTHING, NOTHING, NOTHING)


def spec(wanted: str) -> MachineSpec:
    options = {"kvm": {"acceleration": wanted}}
    return MachineSpec(name="web", image=ImageReference("tarball"), provider="kvm", options=options)


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One that can be opened."""
    device = tmp_path / "kvm"
    device.touch()
    monkeypatch.setattr(acceleration, "DEVICE", str(device))
    return device


@pytest.fixture
def guests(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each guest that is tried comes up."""
    waiting: list[bool] = []
    monkeypatch.setattr(acceleration, "_tried", lambda _kit: waiting.pop())
    return waiting


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("works", [True, False])
def test_one_guest_is_run_and_the_answer_kept(tmp_path: Path, guests: list[bool], *, works: bool) -> None:
    guests.append(works)
    first = acceleration.chosen(spec("auto"), tmp_path, KIT)
    assert first.works is works
    assert acceleration.chosen(spec("auto"), tmp_path, KIT) == first
    assert ("runs no guest" in first.reason) is not works
    assert ("ten times slower" in acceleration.need(tmp_path).message) is not works


@pytest.mark.usefixtures("device")
def test_another_kernel_is_another_host(tmp_path: Path, guests: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    guests += [True, False]
    assert not acceleration.chosen(spec("auto"), tmp_path, KIT).works
    monkeypatch.setattr(acceleration.platform, "release", lambda: "9.9")
    assert acceleration.chosen(spec("auto"), tmp_path, KIT).works


@pytest.mark.usefixtures("guests")
def test_a_device_that_is_missing_is_told_and_nothing_is_run(tmp_path: Path, device: Path) -> None:
    device.unlink()
    assert "is missing" in acceleration.chosen(spec("auto"), tmp_path, KIT).reason
    need = acceleration.need(tmp_path)
    assert need.ok
    assert need.remedy
    with pytest.raises(EnvupError, match="is missing"):
        acceleration.chosen(spec("kvm"), tmp_path, KIT)


@pytest.mark.usefixtures("guests", "device")
def test_who_asks_for_none_is_not_told_that_there_is_none(tmp_path: Path) -> None:
    assert acceleration.chosen(spec("tcg"), tmp_path, KIT) == acceleration.Acceleration(False)


def test_a_guest_that_hangs_or_ends_badly_is_no_acceleration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceleration, "_SECONDS", 0.2)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    program = tmp_path / f"qemu-system-{acceleration.platform.machine()}"
    for script, works in (("exec sleep 60", False), ("exit 1", False), ("exit 0", True)):
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        assert acceleration._tried(KIT) is works
