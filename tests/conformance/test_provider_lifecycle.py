"""Machines come into being, run, stop and go, however often one asks."""

from __future__ import annotations

import subprocess
import threading
import time

import pytest
from provider_kit import ENVIRONMENT, Subject

from envup.errors import EnvupError
from envup.provider import Instance

BULK, PARALLEL, OTHER = (f"{ENVIRONMENT}{letter}" for letter in "bpo")

pytestmark = pytest.mark.usefixtures("check_no_leak")


def test_a_machine_goes_through_its_states(subject: Subject) -> None:
    spec = subject.spec()
    assert subject.state() == "absent"
    instance = subject.create(spec)
    assert (instance.state, subject.state()) == ("created", "created")
    instance = subject.provider.start(instance, spec)
    assert (instance.state, subject.state()) == ("running", "running")
    subject.provider.stop(instance, grace=2)
    assert subject.state() == "stopped"
    assert subject.provider.start(instance, spec).state == "running"
    subject.provider.destroy(instance)
    assert subject.state() == "absent"


def test_each_verb_may_be_called_twice(subject: Subject) -> None:
    spec = subject.spec()
    instance = subject.create(spec)
    first = subject.provider.start(instance, spec)
    assert subject.provider.start(first, spec) == first
    for _ in range(2):
        subject.provider.stop(instance, grace=2)
    for _ in range(2):
        subject.provider.destroy(instance)
    assert subject.state() == "absent"


def test_the_labels_come_back_from_the_backend(subject: Subject) -> None:
    with subject.running(subject.spec("labelled")) as instance:
        assert dict(instance.labels) == subject.labels("labelled")
        assert instance.machine == "labelled"


def test_a_second_machine_of_one_name_is_refused(subject: Subject) -> None:
    instance = subject.create(subject.spec())
    try:
        with pytest.raises(EnvupError, match="exists"):
            subject.create(subject.spec())
        assert subject.state() == "created"
    finally:
        subject.provider.destroy(instance)


def test_another_incarnation_has_another_id(subject: Subject) -> None:
    ids = set()
    for _ in range(2):
        instance = subject.create(subject.spec())
        ids.add(instance.id)
        subject.provider.destroy(instance)
    assert len(ids) == 2


def test_what_a_machine_wrote_survives_a_stop_and_not_a_destroy(subject: Subject) -> None:
    spec = subject.spec()
    with subject.running(spec) as instance:
        subject.shell(instance, "echo kept > /srv/note")
        subject.provider.stop(instance, grace=2)
        instance = subject.provider.start(instance, spec)
        assert subject.shell(instance, "cat /srv/note") == "kept"
    with subject.running(spec) as instance:
        assert subject.run(instance, "cat", "/srv/note").returncode == 1


def test_machines_of_one_image_do_not_see_each_others_files(subject: Subject) -> None:
    with subject.running(subject.spec("one")) as one, subject.running(subject.spec("two")) as two:
        subject.shell(one, "echo mine > /srv/note; rm /etc/issue")
        assert subject.run(two, "cat", "/srv/note").returncode == 1
        assert subject.run(two, "cat", "/etc/issue").returncode == 0


def test_one_question_tells_of_all_machines_of_an_environment(subject: Subject) -> None:
    made = [subject.create(subject.spec(f"m{number}"), environment=BULK) for number in range(5)]
    other = subject.create(subject.spec("m0"), environment=OTHER)
    try:
        assert [one.machine for one in subject.again().observe(BULK)] == [f"m{number}" for number in range(5)]
        assert len(subject.again().observe(None)) >= 6
        assert subject.again().observe("nothing") in ([], ())
    finally:
        for instance in (*made, other):
            subject.provider.destroy(instance)


def test_several_machines_are_made_at_once(subject: Subject) -> None:
    made: list[Instance] = []

    def up(number: int) -> None:
        spec = subject.spec(f"p{number}")
        made.append(subject.provider.start(subject.create(spec, environment=PARALLEL), spec))

    threads = [threading.Thread(target=up, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        assert [one.state for one in subject.again().observe(PARALLEL)] == ["running"] * 6
    finally:
        for instance in subject.again().observe(PARALLEL):
            subject.provider.destroy(instance)
    assert len(made) == 6


def test_a_start_that_fails_leaves_a_machine_that_can_be_destroyed(subject: Subject) -> None:
    from envup.provider import Mount

    spec = subject.spec(mounts=(Mount(subject.base / "missing", "/data"),))
    instance = subject.create(spec)
    with pytest.raises(EnvupError) as caught:
        subject.provider.start(instance, spec)
    assert "missing" in f"{caught.value.brief} {caught.value.details}"
    assert subject.state() in ("created", "stopped")
    subject.provider.destroy(instance)
    assert subject.state() == "absent"


def test_stop_asks_politely_first(subject: Subject) -> None:
    with subject.running(subject.spec()) as instance:
        handler = "$SIG{TERM} = sub { open my $f, q(>), q(/srv/last); print $f qq(bye\n); close $f; exit }"
        script = f"$| = 1; {handler}; print qq(ready\n); sleep 60 while 1"
        process = subject.popen(instance, "perl", "-e", script, streams={"stdout": subprocess.PIPE})
        assert process.stdout.readline() == b"ready\n"
        began = time.monotonic()
        subject.provider.stop(instance, grace=20)
        assert time.monotonic() - began < 10
        process.communicate(timeout=20)
        instance = subject.provider.start(instance, subject.spec())
        assert subject.shell(instance, "cat /srv/last") == "bye"


def test_stop_kills_what_does_not_listen(subject: Subject) -> None:
    with subject.running(subject.spec()) as instance:
        process = subject.popen(
            instance,
            "sh",
            "-c",
            "trap '' TERM; echo ready; while :; do sleep 60; done",
            streams={"stdout": subprocess.PIPE},
        )
        assert process.stdout.readline() == b"ready\n"
        began = time.monotonic()
        subject.provider.stop(instance, grace=0.5)
        assert 0.4 < time.monotonic() - began < 10
        assert subject.state() == "stopped"
        process.communicate(timeout=20)


def test_an_idle_machine_stops_at_once(subject: Subject) -> None:
    with subject.running(subject.spec()) as instance:
        began = time.monotonic()
        subject.provider.stop(instance, grace=10)
        assert time.monotonic() - began < 5
