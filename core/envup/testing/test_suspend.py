"""A suspended machine stands still and goes on where it stood, and so do the programs of one that is paused."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from envup.errors import EnvupError
from envup.provider import Instance, Pause, Suspend
from envup.testing.subject import Subject

pytestmark = pytest.mark.usefixtures("check_no_leak")

LOOP = "n=0; while :; do n=$((n+1)); echo $n > /srv/next; mv /srv/next /srv/count; sleep 0.02; done"
COUNT = f"setsid -f sh -c '{LOOP}' >/dev/null 2>&1"


@pytest.fixture
def counting(subject: Subject) -> Iterator[Instance]:
    """A machine that can be suspended, in which a program counts."""
    subject.needs(Suspend)
    with begun(subject) as instance:
        yield instance


@contextlib.contextmanager
def begun(subject: Subject) -> Iterator[Instance]:
    with subject.running(subject.spec("counter")) as instance:
        subject.shell(instance, f"{COUNT}; until [ -s /srv/count ]; do sleep 0.02; done")
        yield instance


def count(subject: Subject, instance: Instance) -> int:
    return int(subject.shell(instance, "cat /srv/count"))


def test_a_program_stands_still_and_goes_on(subject: Subject, counting: Instance) -> None:
    before = count(subject, counting)
    for _ in range(2):
        subject.provider.suspend(counting)
    assert subject.state("counter") == "suspended"
    time.sleep(4)
    for _ in range(2):
        subject.provider.resume(counting)
    assert subject.state("counter") == "running"
    seen = count(subject, counting)
    assert seen - before < 150, "it counted on"
    while count(subject, counting) <= seen:
        pass


def test_a_suspended_machine_cannot_be_entered(subject: Subject, counting: Instance) -> None:
    subject.provider.suspend(counting)
    try:
        code = subject.run(counting, "true").returncode
    except EnvupError as error:
        code = error.code
    assert code == 125


def test_a_suspended_machine_is_stopped_and_starts_again(subject: Subject, counting: Instance) -> None:
    subject.provider.suspend(counting)
    subject.provider.stop(counting, grace=2)
    assert subject.state("counter") == "stopped"
    assert subject.provider.start(counting, subject.spec("counter")).state == "running"


def test_a_suspended_machine_is_destroyed(subject: Subject, counting: Instance) -> None:
    subject.provider.suspend(counting)
    subject.provider.destroy(counting)
    assert subject.state("counter") == "absent"


def test_programs_are_paused_for_a_moment_and_go_on(subject: Subject) -> None:
    subject.needs(Pause)
    with begun(subject) as instance:
        with subject.provider.paused(instance):
            before = count(subject, instance)
            assert subject.state("counter") == "running"
            time.sleep(1)
            assert count(subject, instance) == before
        deadline = time.monotonic() + 20
        while count(subject, instance) == before:
            assert time.monotonic() < deadline, "its programs did not go on"
