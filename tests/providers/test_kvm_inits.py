"""KVM machines whose image has an init of its own, and machines that do not come up: what is told, and how soon."""

from __future__ import annotations

import time
from typing import Any

import pytest
import systemd_image

from envup.errors import EnvupError
from envup.provider import Instance
from envup.testing import images
from envup.testing.subject import PATIENCE, Subject
from envup_kvm import starting

PROVIDER = "kvm"
pytestmark = [pytest.mark.root, pytest.mark.slow]

FAREWELL = """\
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecStop=/bin/sh -c "echo bye > /srv/farewell"
[Install]
WantedBy=multi-user.target
"""
SOON = 120
"""Seconds; a boot without acceleration may take 600."""


def console(subject: Subject, instance: Instance) -> str:
    log = subject.provider.console(instance).argv[-1]
    with open(log, encoding="utf-8", errors="replace") as file:
        return file.read()


def await_again(subject: Subject, instance: Instance, boot: str) -> None:
    """Until programs run in another boot than that."""
    deadline = time.monotonic() + PATIENCE
    while (done := subject.run(instance, "cat", "/proc/sys/kernel/random/boot_id")).stdout.decode() in ("", boot):
        assert time.monotonic() < deadline, done.stderr


def test_systemd_boots_ends_and_restarts_as_on_any_machine(subject: Subject) -> None:
    image = images.describe(systemd_image.archive())
    spec = subject.spec("big")
    with subject.running(spec, image=image) as instance:
        assert subject.shell(instance, "systemctl is-system-running") == "running"
        assert subject.shell(instance, "systemctl list-units --state=failed --plain --no-legend") == ""
        assert subject.shell(instance, "systemctl list-jobs --no-legend") == ""
        subject.shell(instance, "logger -t kit heard")
        assert "kit" in subject.shell(
            instance, "journalctl --sync; journalctl -b -o cat SYSLOG_IDENTIFIER=kit; echo kit"
        )
        subject.shell(
            instance, "cat >/etc/systemd/system/bye.service; systemctl enable --now bye", data=FAREWELL.encode()
        )
        subject.shell(instance, "systemctl daemon-reexec; systemctl daemon-reload")
        boot = subject.run(instance, "cat", "/proc/sys/kernel/random/boot_id").stdout.decode()
        subject.run(instance, "systemctl", "reboot")
        await_again(subject, instance, boot)
        assert subject.shell(instance, "cat /srv/farewell; rm /srv/farewell") == "bye"
        assert subject.shell(instance, "cat /proc/net/route; findmnt -n -o TARGET /run/envup/kit").count("eth0") >= 2
        subject.provider.stop(instance, grace=PATIENCE)
        assert "Failed unmounting" not in console(subject, instance)
        instance = subject.provider.start(instance, spec)
        assert subject.shell(instance, "cat /srv/farewell") == "bye"
    subject.provider.remove_form(image.digest)


def test_another_init_boots_and_is_asked_to_end(subject: Subject) -> None:
    image = images.describe(images.built("sysvinit", "sysvinit-core"))
    with subject.running(subject.spec("old"), image=image) as instance:
        deadline = time.monotonic() + PATIENCE
        while subject.run(instance, "runlevel").stdout != b"N 2\n":
            assert time.monotonic() < deadline, console(subject, instance)
        assert subject.shell(instance, "cat /proc/1/comm; touch /srv/written") == "init"
        assert "eth0" in subject.shell(instance, "cat /proc/net/route")
        subject.provider.stop(instance, grace=PATIENCE)
        said = console(subject, instance)
        assert "Unmounting local filesystems" in said
        assert "Power down" in said
    subject.provider.remove_form(image.digest)


def test_a_machine_that_cannot_come_up_says_why_at_once(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = subject.spec("dead")
    instance = subject.create(spec)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(starting.facts, "of", lambda *_arguments, **_fields: {})
            error = failure(subject, instance, spec)
            assert "KeyError: 'init'" in error.details
        instance = subject.provider.start(instance, spec)
        subject.shell(
            instance, "rm -f /sbin/init; printf '#!/bin/sh\\nexit 3\\n' > /sbin/init; chmod +x /sbin/init; sync"
        )
        subject.provider.stop(instance)
        assert "Attempted to kill init" in failure(subject, instance, spec).details
    finally:
        subject.provider.destroy(instance)


def failure(subject: Subject, instance: Instance, spec: Any) -> EnvupError:
    began = time.monotonic()
    with pytest.raises(EnvupError, match="boot fails") as caught:
        subject.provider.start(instance, spec)
    assert time.monotonic() - began < SOON
    assert subject.state(spec.name) == "stopped"
    return caught.value
