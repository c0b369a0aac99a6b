"""LXC machines whose image has an init of its own: systemd, or another."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import systemd_image

from envup.errors import EnvupError, TransportError
from envup.image import Image
from envup.provider import Instance, MachineSpec, Resources
from envup.testing.images import describe
from envup.testing.subject import ENVIRONMENT, PATIENCE, Subject

PROVIDER = "lxc"

pytestmark = [pytest.mark.usefixtures("check_no_leak"), pytest.mark.timeout(280)]

FAREWELL = """\
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecStop=/bin/sh -c "echo bye > /srv/farewell"
"""
OWN = """\
#!/bin/sh
trap 'echo asked > /srv/asked; exit 0' TERM
echo "this is my own init" > /dev/console
while :; do sleep 1000 & wait $!; done
"""


@pytest.fixture(scope="module")
def debian(subject: Subject) -> Iterator[Image]:
    """Debian with systemd."""
    image = describe(systemd_image.archive())
    yield image
    subject.provider.remove_form(image.digest)


@pytest.fixture(scope="module")
def unpacked(subject: Subject, debian: Image) -> Image:
    """The same, unpacked already."""
    subject.provider.destroy(subject.create(subject.spec("first"), image=debian))
    return debian


@contextlib.contextmanager
def booted(subject: Subject, image: Image, name: str = "big", **fields: Any) -> Iterator[tuple[Instance, MachineSpec]]:
    spec = subject.spec(name, **fields)
    with subject.running(spec, image=image) as instance:
        yield instance, spec


def shown(subject: Subject, instance: Instance) -> str:
    """What the console says."""
    directory = subject.base / "data/machines" / f"{ENVIRONMENT}.{instance.machine}"
    return (directory / "console.log").read_text(errors="replace")


@pytest.mark.root
def test_systemd_has_booted_when_the_machine_is_up_and_stops_in_order(subject: Subject, unpacked: Image) -> None:
    with booted(subject, unpacked) as (instance, spec):
        assert subject.shell(instance, "systemctl is-system-running; cat /proc/1/comm") == "running\nsystemd"
        assert "Reached target" in shown(subject, instance)
        subject.shell(
            instance, f"cat > /etc/systemd/system/farewell.service <<'X'\n{FAREWELL}X\nsystemctl start farewell"
        )
        subject.provider.stop(instance, grace=20)
        again = subject.provider.start(instance, spec)
        assert subject.shell(again, "cat /srv/farewell") == "bye"


@pytest.mark.root
def test_a_machine_that_turns_itself_off_is_stopped_and_one_that_restarts_itself_goes_on(
    subject: Subject, unpacked: Image
) -> None:
    with booted(subject, unpacked, resources=Resources(pids=200)) as (instance, spec):
        subject.shell(instance, "touch /run/before; systemctl reboot")
        await_restart(subject, instance)
        (now,) = subject.observed()
        assert (now.id, now.state) == (instance.id, "running")
        assert limit_of(instance) == "200"
        subject.shell(instance, "systemctl poweroff")
        subject.await_state("stopped", "big")
        assert subject.shell(subject.provider.start(instance, spec), "systemctl is-system-running") == "running"


@pytest.mark.root
def test_a_machine_is_destroyed_at_any_moment_of_its_restart(subject: Subject, unpacked: Image) -> None:
    for moment in (0.0, 0.05, 0.1, 0.2, 0.4):
        with booted(subject, unpacked) as (instance, _spec):
            subject.run(instance, "systemctl", "--force", "--force", "reboot")
            time.sleep(moment)
        assert subject.state("big") == "absent"


def await_restart(subject: Subject, instance: Instance) -> None:
    """Return when a machine in which /run/before was made has booted anew. It cannot be entered in between."""
    deadline = time.monotonic() + PATIENCE
    booted = "! test -e /run/before && systemctl is-system-running --wait"
    while time.monotonic() < deadline:
        with contextlib.suppress(TransportError):
            if subject.run(instance, "sh", "-c", booted).returncode == 0:
                return
        time.sleep(0.05)
    raise AssertionError(shown(subject, instance))


def limit_of(instance: Instance) -> str:
    name = f"envup/lxc-{ENVIRONMENT}.{instance.machine}/pids.max"
    (file,) = (file for place in ("pids", "unified", ".") if (file := Path("/sys/fs/cgroup", place, name)).exists())
    return file.read_text().strip()


@pytest.mark.root
def test_a_boot_that_takes_too_long_is_an_error_and_the_next_start_works(subject: Subject, unpacked: Image) -> None:
    late = subject.spec("late", options={"boot_timeout": 0.01})
    instance = subject.create(late, image=unpacked)
    try:
        with pytest.raises(EnvupError, match=r"did not boot within 0\.01 s") as raised:
            subject.provider.start(instance, late)
        assert "lxc.boot_timeout" in raised.value.hint
        assert subject.state("late") == "stopped"
        again = subject.provider.start(instance, subject.spec("late"))
        assert subject.shell(again, "systemctl is-system-running") == "running"
    finally:
        subject.provider.destroy(instance)


def test_a_small_init_stands_in_for_systemd_when_it_is_asked_for(subject: Subject, unpacked: Image) -> None:
    with booted(subject, unpacked, options={"init": "small"}) as (instance, _spec):
        assert subject.shell(instance, "cat /proc/1/comm; cat /proc/[0-9]*/comm | grep -c systemd || true") == "init\n0"


def test_another_init_of_the_image_is_run_asked_to_end_and_shown(subject: Subject) -> None:
    spec = subject.spec("own", options={"init": "auto"})
    with subject.running(spec) as instance:
        subject.shell(instance, f"cat > /usr/sbin/init <<'X'\n{OWN}X\nchmod +x /usr/sbin/init")
        subject.provider.stop(instance, grace=1)
        again = subject.provider.start(instance, spec)
        assert subject.shell(again, "tr '\\0' ' ' < /proc/1/cmdline").startswith("/bin/sh /sbin/init")
        assert "this is my own init" in shown(subject, again)
        subject.provider.stop(again, grace=10)
        subject.shell(subject.provider.start(again, spec), "cat /srv/asked")


def test_the_images_init_that_is_not_there_is_refused(subject: Subject) -> None:
    spec = subject.spec("without", options={"init": "image"})
    instance = subject.create(spec)
    try:
        with pytest.raises(EnvupError) as raised:
            subject.provider.start(instance, spec)
        assert "the image has no /sbin/init" in raised.value.details
        assert "lxc.init: small" in raised.value.details
        assert subject.state("without") in ("created", "stopped")
    finally:
        subject.provider.destroy(instance)
