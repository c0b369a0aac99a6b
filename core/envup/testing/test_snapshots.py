"""A snapshot is a state that a machine goes back to, as often and in whatever order one likes."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from envup.errors import EnvupError
from envup.provider import Instance, Snapshots
from envup.testing import traces
from envup.testing.fixtures import MARK
from envup.testing.subject import ENVIRONMENT, Subject

LOOP = "n=0; cd /dev/shm; while :; do n=$((n+1)); echo $n > next; mv next count; sleep 0.02; done"
COUNT = f"setsid -f sh -c 'echo $$ > /srv/counter; {LOOP}' >/dev/null 2>&1"


@pytest.fixture(scope="module")
def kept(subject: Subject) -> Iterator[Instance]:
    """A running machine that the cases share, of which nothing is left on the host."""
    subject.needs(Snapshots)
    before = traces.traces(MARK, ENVIRONMENT)
    with subject.running(subject.spec("kept")) as instance:
        yield instance
    assert traces.traces(MARK, ENVIRONMENT) == before


def write(subject: Subject, instance: Instance, text: str) -> None:
    subject.shell(instance, f"echo {text} > /srv/state")


def names(subject: Subject, instance: Instance) -> list[str]:
    provider = subject.again()
    assert isinstance(provider, Snapshots)
    return [one.name for one in provider.snapshots(instance)]


def restore(subject: Subject, instance: Instance, name: str) -> Instance:
    """The machine, which runs again if it does not yet."""
    instance = subject.provider.restore_snapshot(instance, name)
    started: Instance = subject.provider.start(instance, subject.spec("kept"))
    return started


def state(subject: Subject, instance: Instance) -> str:
    return subject.shell(instance, "cat /srv/state")


def test_files_go_back_in_any_order_and_later_snapshots_stay(subject: Subject, kept: Instance) -> None:
    for name in ("one", "two", "three"):
        write(subject, kept, name)
        taken = subject.provider.take_snapshot(kept, name)
        assert taken.name == name
        assert subject.state("kept") == "running"
    write(subject, kept, "now")
    for name in ("two", "one", "three", "three"):
        kept = restore(subject, kept, name)
        assert state(subject, kept) == name
        assert names(subject, kept) == ["one", "two", "three"]
    subject.provider.delete_snapshot(kept, "two")
    assert names(subject, kept) == ["one", "three"]
    kept = restore(subject, kept, "one")
    assert state(subject, kept) == "one"
    for name in ("one", "three"):
        for _ in range(2):
            subject.provider.delete_snapshot(kept, name)
    assert names(subject, kept) == []
    assert state(subject, kept) == "one"


def test_what_runs_in_memory_goes_on_from_there(subject: Subject, kept: Instance) -> None:
    subject.shell(kept, f"{COUNT}; until [ -s /dev/shm/count ]; do sleep 0.02; done")
    counted = "cat /dev/shm/count"
    before = int(subject.shell(kept, counted))
    taken = subject.provider.take_snapshot(kept, "memory")
    try:
        if not taken.memory:
            subject.leave_out("memory in snapshots")
        later = before + 200
        while int(subject.shell(kept, counted)) < later:
            pass
        kept = subject.provider.restore_snapshot(kept, "memory")
        assert kept.state == "running"
        assert before <= int(subject.shell(kept, counted)) < later, "it does not go on from where it was"
        host, machine = time.time(), float(subject.shell(kept, "date +%s.%N"))
        assert abs(machine - host) < 10, "its clock stood still"
    finally:
        subject.provider.delete_snapshot(kept, "memory")
        subject.run(kept, "sh", "-c", "kill -9 $(cat /srv/counter)")


def test_names_that_are_taken_or_unknown_change_nothing(subject: Subject, kept: Instance) -> None:
    write(subject, kept, "first")
    subject.provider.take_snapshot(kept, "name")
    write(subject, kept, "second")
    with pytest.raises(EnvupError, match="name"):
        subject.provider.take_snapshot(kept, "name")
    with pytest.raises(EnvupError, match="unknown"):
        subject.provider.restore_snapshot(kept, "unknown")
    assert state(subject, kept) == "second"
    kept = restore(subject, kept, "name")
    assert state(subject, kept) == "first"
    subject.provider.delete_snapshot(kept, "name")


def test_a_stopped_machine_goes_back_to_either_kind(subject: Subject, kept: Instance) -> None:
    write(subject, kept, "running")
    subject.provider.take_snapshot(kept, "running")
    write(subject, kept, "stopped")
    subject.provider.stop(kept, grace=1)
    assert not subject.provider.take_snapshot(kept, "stopped").memory
    assert subject.state("kept") == "stopped"
    kept = restore(subject, kept, "running")
    assert state(subject, kept) == "running"
    stopped = subject.provider.restore_snapshot(kept, "stopped")
    assert stopped.state == subject.state("kept") == "stopped"
    kept = subject.provider.start(stopped, subject.spec("kept"))
    assert state(subject, kept) == "stopped"
    for name in ("running", "stopped"):
        subject.provider.delete_snapshot(kept, name)


def test_destroy_takes_snapshots_along(subject: Subject) -> None:
    subject.needs(Snapshots)
    spec = subject.spec("brief")
    instance = subject.create(spec)
    try:
        subject.provider.take_snapshot(instance, "fresh")
        assert names(subject, instance) == ["fresh"]
    finally:
        subject.provider.destroy(instance)
    instance = subject.create(spec)
    try:
        assert names(subject, instance) == []
    finally:
        subject.provider.destroy(instance)


def test_another_machine_begins_with_a_snapshot(subject: Subject, kept: Instance) -> None:
    write(subject, kept, "then")
    change = "ln /srv/state /srv/linked; chown 12:34 /srv/state; chmod 640 /srv/state; rm -rf /var/cache/apt"
    subject.shell(kept, change)
    subject.provider.take_snapshot(kept, "origin")
    write(subject, kept, "now")
    spec = subject.spec("copy")
    labels = {**kept.labels, "envup.machine": "copy"}
    copied = subject.provider.copy_snapshot(kept, "origin", spec, labels)
    try:
        assert (copied.machine, copied.id == kept.id) == ("copy", False)
        copied = subject.provider.start(copied, spec)
        assert state(subject, copied) == "then"
        seen = subject.shell(copied, "stat -c '%u:%g %a %h' /srv/state; ls /var/cache").split()
        assert seen[:3] == ["12:34", "640", "2"]
        assert "apt" not in seen
        write(subject, copied, "other")
        assert state(subject, kept) == "now"
        assert names(subject, copied) == []
    finally:
        subject.provider.destroy(copied)
        subject.provider.delete_snapshot(kept, "origin")
    assert state(subject, kept) == "now"
