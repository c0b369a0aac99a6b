"""What ends a machine, and what is left of it then: nothing."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from envup.errors import EnvupError
from envup.provider import Instance
from envup.testing.subject import ENVIRONMENT, Subject
from envup.testing.traces import LONG, first_process, process_with, processes_with

pytestmark = pytest.mark.usefixtures("check_no_leak")


def test_stop_ends_daemons_too(subject: Subject) -> None:
    spec = subject.spec("daemons")
    with subject.running(spec) as instance:
        stubborn = f"trap '' TERM HUP; while :; do sleep {LONG}; done"
        subject.shell(instance, f'(setsid -f sleep {LONG}; setsid -f sh -c "{stubborn}") >/dev/null 2>&1')
        subject.provider.stop(instance, grace=0.5)
        assert not processes_with(LONG)


def test_the_end_of_its_first_process_stops_a_machine_that_starts_again(subject: Subject) -> None:
    subject.needs_shared_kernel()
    spec = subject.spec("killed")
    with subject.running(spec) as instance:
        subject.shell(instance, f"echo kept > /srv/note; setsid -f sleep {LONG} >/dev/null 2>&1")
        try:
            os.kill(first_process(process_with(LONG)), signal.SIGKILL)
        except PermissionError:
            subject.leave_out("processes that its user may kill")
        subject.await_state("stopped", "killed")
        subject.provider.stop(instance)
        assert not processes_with(LONG)
        instance = subject.provider.start(instance, spec)
        assert subject.shell(instance, "cat /srv/note") == "kept"


def test_nothing_of_a_machine_is_left_after_destroy(subject: Subject) -> None:
    subject.needs_shared_kernel()
    mark = f"mark-{LONG}"
    spec = subject.spec("traceless", environment={"MARK": mark})
    with subject.running(spec, environment=f"{ENVIRONMENT}t") as instance:
        subject.shell(
            instance, f"setsid -f sh -c 'sleep 600; : {mark}' >/dev/null 2>&1; head -c 1000000 /dev/zero > /srv/big"
        )
        assert processes_with(mark)
    assert not processes_with(mark)
    assert not [path for path in subject.base.rglob("*") if "traceless" in path.name or path.name == f"{ENVIRONMENT}t"]


def test_a_neighbour_is_unharmed_by_a_destroy(subject: Subject) -> None:
    subject.accepts(subject.spec("stays", peers=("goes",)), "peers")
    with subject.running(subject.spec("stays", peers=("goes",))) as stays:
        subject.shell(stays, f"echo kept > /srv/note; setsid -f sleep {LONG} >/dev/null 2>&1")
        with subject.running(subject.spec("goes", peers=("stays",))):
            pass
        assert "sleep" in subject.shell(stays, "cat /proc/[0-9]*/comm 2>/dev/null || :").split()
        assert subject.shell(stays, "cat /srv/note; getent hosts stays > /dev/null && echo known") == "kept\nknown"
        assert subject.state("stays") == "running"


def test_what_is_gone_is_stopped_and_destroyed_without_complaint_and_nothing_else(subject: Subject) -> None:
    spec = subject.spec("gone")
    with subject.running(spec) as instance:
        pass
    subject.provider.stop(instance, grace=1)
    subject.provider.destroy(instance)
    with pytest.raises(EnvupError):
        subject.provider.start(instance, spec)
    with Path(os.devnull).open("rb") as empty, pytest.raises(EnvupError):
        subject.provider.send(instance, "/", empty)
    assert _exit_code(subject, instance) == 125
    assert subject.state("gone") == "absent"


def test_a_machine_that_never_started_is_stopped_and_destroyed(subject: Subject) -> None:
    instance = subject.create(subject.spec("new"))
    subject.provider.stop(instance, grace=1)
    assert subject.state("new") in ("created", "stopped")
    subject.provider.destroy(instance)
    assert subject.state("new") == "absent"


def test_a_running_machine_is_destroyed_at_once(subject: Subject) -> None:
    with subject.running(subject.spec("busy")) as instance:
        subject.shell(instance, f"setsid -f sh -c \"trap '' TERM; while :; do sleep {LONG}; done\" >/dev/null 2>&1")
        subject.provider.destroy(instance)
        assert not processes_with(LONG)
        assert subject.state("busy") == "absent"


def _exit_code(subject: Subject, instance: Instance) -> int:
    try:
        code: int = subject.run(instance, "true").returncode
    except EnvupError as error:
        return error.code
    return code
