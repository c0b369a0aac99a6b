"""What is the KVM provider's own: domains that change behind its back, and what is told where one does not boot."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from envup.errors import EnvupError
from envup.namespaces import programs
from envup.testing.subject import ENVIRONMENT, Subject
from envup_kvm import link, starting

PROVIDER = "kvm"
pytestmark = [pytest.mark.root, pytest.mark.slow]


def virsh(*arguments: str) -> None:
    subprocess.run(["virsh", "--quiet", "--connect", "qemu:///system", *arguments], check=True, timeout=60)


def test_a_domain_that_was_paused_killed_or_undefined_is_seen_and_healed(subject: Subject) -> None:
    name = f"envup-{ENVIRONMENT}-web"
    with subject.running(subject.spec()) as instance:
        subject.shell(instance, "echo kept > /srv/note")
        subject.provider.flush(instance)
        virsh("suspend", name)
        assert subject.state() == "suspended"
        instance = subject.provider.start(instance, subject.spec())
        assert subject.shell(instance, "cat /srv/note") == "kept"
        virsh("destroy", name)
        virsh("undefine", name)
        assert subject.state() == "stopped"
        instance = subject.provider.start(instance, subject.spec())
        assert subject.shell(instance, "cat /srv/note") == "kept"


def test_a_domain_that_was_saved_or_started_by_hand_is_seen_and_healed_and_so_is_one_after_a_reboot(
    subject: Subject,
) -> None:
    name, spec = f"envup-{ENVIRONMENT}-saved", subject.spec("saved")
    with subject.running(spec) as instance:
        subject.shell(instance, "echo kept > /srv/note; sync")
        virsh("managedsave", name)
        assert subject.state("saved") == "stopped"
        instance = subject.provider.start(instance, spec)
        assert subject.shell(instance, "cat /srv/note") == "kept"
        virsh("destroy", name)
        with pytest.raises(subprocess.CalledProcessError):
            virsh("start", name)
        assert subject.state("saved") == "stopped"
        for left in (subject.base / "runtime").iterdir():
            programs.remove(left)
        instance = subject.provider.start(instance, spec)
        assert subject.shell(instance, "cat /srv/note") == "kept"


def test_a_machine_whose_disk_was_removed_by_hand_says_so_and_is_destroyed(subject: Subject) -> None:
    spec = subject.spec("diskless")
    instance = subject.create(spec)
    try:
        (disk,) = (subject.base / "data").glob("machines/*.diskless/disk.qcow2")
        disk.unlink()
        with pytest.raises(EnvupError) as caught:
            subject.provider.start(instance, spec)
        assert str(disk) in f"{caught.value.brief} {caught.value.details}"
    finally:
        subject.provider.destroy(instance)
    assert subject.state("diskless") == "absent"


def test_a_machine_that_is_not_up_in_time_says_at_which_stage_and_does_not_run(subject: Subject) -> None:
    spec = subject.spec("late", options={"boot_timeout": 1})
    instance = subject.create(spec)
    try:
        with pytest.raises(EnvupError, match="boot fails") as caught:
            subject.provider.start(instance, spec)
        assert "1 s, see kvm.boot_timeout" in caught.value.hint
        assert subject.state("late") == "stopped"
    finally:
        subject.provider.destroy(instance)


def test_a_machine_whose_kernel_hangs_is_started_once_more_and_that_is_told(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = starting._start

    def impatient(*arguments: Any, patience: float | None = None) -> None:
        monkeypatch.setattr(link, "_BOOT", 60 if patience is None else 1)
        start(*arguments, patience=patience)

    monkeypatch.setattr(starting, "_start", impatient)
    monkeypatch.setattr(starting, "_KERNEL", 0.0)
    before = len(subject.events)
    with subject.running(subject.spec("hung", options={"acceleration": "tcg"})) as instance:
        warnings = [event.text for event in subject.events[before:] if event.kind == "warning"]
        assert len([text for text in warnings if "its kernel hangs" in text]) == 1
        assert subject.shell(instance, "echo up") == "up"
