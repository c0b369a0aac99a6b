"""What is there is told in one question, whoever asks, and whatever comes and goes meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from envup.errors import EnvupError
from envup.provider import Instance
from envup.testing.subject import ENVIRONMENT, Subject

BULK, OTHER, BUSY = (f"{ENVIRONMENT}{letter}" for letter in "bow")

pytestmark = pytest.mark.usefixtures("check_no_leak")


@contextmanager
def created(subject: Subject, *names: str, environment: str = ENVIRONMENT) -> Iterator[list[Instance]]:
    """Machines that were made and not started, destroyed afterwards."""
    made: list[Instance] = []
    try:
        for name in names:
            made.append(subject.create(subject.spec(name), environment))
        yield made
    finally:
        for instance in made:
            subject.provider.destroy(instance)


def test_one_question_tells_of_all_machines_of_an_environment(subject: Subject) -> None:
    names = [f"m{number}" for number in range(5)]
    with created(subject, *names, environment=BULK), created(subject, "m0", environment=OTHER):
        assert [one.machine for one in subject.observed(BULK)] == names
        assert len(subject.again().observe(None)) >= 6
        assert subject.observed("nothing") in ([], ())


def test_an_environment_whose_name_begins_alike_is_another_one(subject: Subject) -> None:
    with created(subject, "near"), created(subject, "far", environment=BULK):
        assert [one.machine for one in subject.observed()] == ["near"]
        assert [one.machine for one in subject.observed(BULK)] == ["far"]


def test_another_command_sees_what_this_one_made(subject: Subject) -> None:
    with subject.running(subject.spec("shared")) as instance:
        (seen,) = [one for one in subject.observed() if one.machine == "shared"]
        assert seen == instance


def test_another_command_works_on_what_this_one_made(subject: Subject) -> None:
    spec = subject.spec("handed")
    instance = subject.create(spec)
    try:
        (seen,) = subject.observed()
        started = subject.again().start(seen, spec)
        assert subject.shell(instance, "hostname") == "handed"
        subject.again().stop(started, grace=1)
        assert subject.state("handed") == "stopped"
    finally:
        subject.again().destroy(instance)
    assert subject.state("handed") == "absent"


def test_the_labels_come_back_from_the_backend(subject: Subject) -> None:
    with subject.running(subject.spec("labelled")) as instance:
        assert dict(instance.labels) == subject.labels("labelled")
        assert instance.machine == "labelled"


def test_labels_hold_any_text(subject: Subject) -> None:
    labels = {**subject.labels("texts"), "envup.project": "/a dir/ünï \"q\" 'q' $HOME %n ,=\\:{}"}
    instance = subject.provider.create(subject.spec("texts"), subject.image, labels)
    try:
        (seen,) = subject.observed()
        assert dict(seen.labels) == labels
    finally:
        subject.provider.destroy(instance)


def test_a_machine_is_told_while_others_come_and_go(subject: Subject) -> None:
    done = threading.Event()
    failed: list[BaseException] = []

    def come_and_go() -> None:
        try:
            for number in range(4):
                with created(subject, f"busy{number}", environment=BUSY):
                    pass
        except BaseException as error:
            failed.append(error)
            raise
        finally:
            done.set()

    with created(subject, "constant", environment=BUSY):
        thread = threading.Thread(target=come_and_go)
        thread.start()
        seen = 0
        while not done.is_set() or not seen:
            assert "constant" in [one.machine for one in subject.observed(BUSY)]
            seen += 1
        thread.join()
    assert not failed


def test_a_machine_that_never_was_is_told_from_one_that_is(subject: Subject) -> None:
    with created(subject, "is") as (real,):
        never = Instance(f"{real.id}0", "running", subject.labels("never"))
        subject.provider.stop(never, grace=1)
        subject.provider.destroy(never)
        with pytest.raises(EnvupError):
            subject.provider.start(never, subject.spec("never"))
        assert [one.machine for one in subject.observed()] == ["is"]
