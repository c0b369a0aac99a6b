"""Machines come into being, run, stop and go, however often one asks."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from pathlib import Path

import pytest

from envup.errors import EnvupError
from envup.provider import ImageForms, Instance, Mount, Port, Resources
from envup.testing.subject import ENVIRONMENT, Subject, mode
from envup.value import replace

PARALLEL, OTHER = (f"{ENVIRONMENT}{letter}" for letter in "po")

MIB = 1 << 20

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


def test_checks_change_nothing(subject: Subject) -> None:
    subject.provider.doctor()  # may remember what it has found
    before = sorted(str(path) for path in Path(subject.base).rglob("*"))
    subject.provider.check(subject.spec(resources=Resources(cpus=1, memory=MIB * 64, disk=MIB * 64, pids=10)))
    assert all(check.ok for check in subject.provider.doctor())
    assert sorted(str(path) for path in Path(subject.base).rglob("*")) == before


def test_a_damaged_image_makes_no_machine_and_is_in_nobodys_way(subject: Subject, tmp_path: Path) -> None:
    assert subject.image.archive is not None
    cut = tmp_path / "cut.tar"
    with subject.image.archive.open("rb") as whole:
        cut.write_bytes(whole.read(20_000_000))
    image = replace(subject.image, digest=f"sha256:{'0' * 64}", archive=cut)
    with pytest.raises(EnvupError):
        subject.create(subject.spec("never"), image=image)
    assert subject.state("never") == "absent"
    assert not list(subject.base.rglob("*never*"))
    with subject.running(subject.spec("never")) as instance:
        assert subject.run(instance, "true").returncode == 0


def test_the_same_name_in_two_environments_is_two_machines(subject: Subject) -> None:
    with subject.running(subject.spec("same")) as one, subject.running(subject.spec("same"), OTHER) as other:
        subject.shell(one, "echo one > /srv/note")
        assert subject.run(other, "cat", "/srv/note").returncode == 1
        subject.provider.destroy(other)
        assert subject.shell(one, "cat /srv/note") == "one"


def test_the_provider_says_what_it_is(subject: Subject) -> None:
    provider = subject.provider
    assert provider.isolation in ("filesystem", "container", "machine")
    assert mode() in provider.modes
    assert all(level in ("live", "restart", "recreate", "provision") for level in provider.touches.values())


def test_the_image_form_is_kept_while_a_machine_uses_it(subject: Subject) -> None:
    subject.needs(ImageForms)
    own = replace(subject.image, digest=f"sha256:{os.urandom(32).hex()}")
    instance = subject.create(subject.spec("user"), image=own)
    try:
        with pytest.raises(EnvupError, match="in use"):
            subject.provider.remove_form(own.digest)
        assert own.digest in {digest for digest, size in subject.provider.forms() if size > 0}
    finally:
        subject.provider.destroy(instance)
    for _ in range(2):
        subject.provider.remove_form(own.digest)
    assert own.digest not in {digest for digest, _size in subject.provider.forms()}


def test_host_name_and_variables_are_those_of_the_last_start(subject: Subject) -> None:
    first = subject.spec("again", hostname="before", environment={"OLD": "1", "BOTH": "1"})
    with subject.running(first) as instance:
        subject.provider.stop(instance, grace=1)
        second = subject.spec("again", hostname="after", environment={"NEW": "2", "BOTH": "2"})
        instance = subject.provider.start(instance, second)
        assert subject.shell(instance, 'echo "${OLD-gone} $NEW $BOTH"; hostname; getent hosts after >&2') == (
            "gone 2 2\nafter"
        )


def test_the_longest_names_are_taken(subject: Subject) -> None:
    name = "m" + "-0123456789" * 3 + "-0123x"
    assert len(name) == 40
    with subject.running(subject.spec(name, hostname="h" * 63)) as instance:
        assert subject.shell(instance, "hostname") == "h" * 63
        assert instance.machine == name


def test_each_refusal_begins_with_its_key(subject: Subject) -> None:
    spec = subject.spec(
        hostname="h" * 65,
        environment={"ZERO": "\0"},
        resources=Resources(disk=1),
        ports=(Port(80, 8080), Port(53, 5353, "127.0.0.1", "udp")),
        mounts=(Mount(subject.base / "missing", "/data"),),
    )
    reasons = subject.provider.check(spec)
    keys = ("hostname", "environment", "resources", "mounts", "image", "ports", subject.name)
    assert {"hostname", "environment", "mounts"} <= {re.split(r"[.:]", reason)[0] for reason in reasons}
    assert [reason for reason in reasons if not re.match(rf"({'|'.join(keys)})[\w.]*: ", reason)] == []
