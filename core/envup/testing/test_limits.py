"""Limits hold for every process of a machine, change while it runs, and are refused where they cannot be kept."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

import pytest

from envup.errors import EnvupError
from envup.provider import Instance, Resize, Resources
from envup.testing.subject import Subject

pytestmark = pytest.mark.usefixtures("check_no_leak")

MIB = 1 << 20


@contextlib.contextmanager
def limited(subject: Subject, **limits: float) -> Iterator[Instance]:
    """A running machine with limits; where the provider refuses them, the case is left out."""
    spec = subject.spec("limited", resources=Resources(**limits))  # type: ignore[arg-type]
    subject.accepts(spec, *(f"resources.{name}" for name in limits))
    with subject.running(spec) as instance:
        yield instance


def _eats(subject: Subject, instance: Instance, mebibytes: int) -> int:
    code: int = subject.run(instance, "perl", "-e", f"my $x = 'x' x ({mebibytes} << 20); print length $x").returncode
    return code


def test_memory_is_limited(subject: Subject) -> None:
    with limited(subject, memory=64 * MIB) as instance:
        assert _eats(subject, instance, 8) == 0
        assert _eats(subject, instance, 200) != 0
        assert subject.run(instance, "true").returncode == 0


def test_the_number_of_processes_is_limited(subject: Subject) -> None:
    with limited(subject, pids=20) as instance:
        child = "my $p = fork; last if !defined $p; $p or sleep 30, exit; push @p, $p"
        script = f"for (1..60) {{ {child} }} kill 9, @p; print 0 + @p"
        assert 10 < int(subject.run(instance, "perl", "-e", script).stdout) < 20
        assert subject.run(instance, "true").returncode == 0


def test_processor_time_is_limited(subject: Subject) -> None:
    with limited(subject, cpus=0.25) as instance:
        script = "use Time::HiRes qw(time); my $e = time + 1.2; 1 while time < $e; my @t = times; print $t[0] + $t[1]"
        assert float(subject.run(instance, "perl", "-e", script).stdout) < 0.7


def test_a_running_machine_is_resized(subject: Subject) -> None:
    subject.needs(Resize)
    with limited(subject, memory=512 * MIB, pids=200) as instance:
        assert _eats(subject, instance, 100) == 0
        smaller = subject.spec("limited", resources=Resources(memory=64 * MIB, pids=100))
        for _ in range(2):
            subject.provider.resize(instance, smaller)
        assert _eats(subject, instance, 100) != 0
        subject.provider.resize(instance, subject.spec("limited"))
        assert _eats(subject, instance, 100) == 0


def test_a_machine_without_limits_gets_some_while_it_runs(subject: Subject) -> None:
    subject.needs(Resize)
    smaller = subject.spec("unlimited", resources=Resources(memory=64 * MIB))
    subject.accepts(smaller, "resources.memory")
    spec = subject.spec("unlimited")
    with subject.running(spec) as instance:
        assert _eats(subject, instance, 100) == 0
        subject.provider.resize(instance, smaller)
        assert _eats(subject, instance, 100) != 0


def test_limits_are_those_of_the_last_start(subject: Subject) -> None:
    with limited(subject, memory=64 * MIB) as instance:
        subject.provider.stop(instance, grace=1)
        instance = subject.provider.start(instance, subject.spec("limited"))
        assert _eats(subject, instance, 100) == 0


def test_a_limit_that_cannot_be_set_leaves_the_machine_running(subject: Subject) -> None:
    subject.needs(Resize)
    with limited(subject, memory=200 * MIB) as instance:
        eater = "perl -e '$x = q(a) x 60000000; open F, q(>), q(/tmp/eaten); sleep 300' >/dev/null 2>&1 &"
        subject.shell(instance, f"{eater} until [ -e /tmp/eaten ]; do sleep 0.1; done")
        with contextlib.suppress(EnvupError):
            subject.provider.resize(instance, subject.spec("limited", resources=Resources(memory=20 * MIB)))
        assert subject.state("limited") == "running"


def test_a_machine_that_uses_up_its_memory_goes_on(subject: Subject) -> None:
    with limited(subject, memory=64 * MIB) as instance:
        subject.run(instance, "dd", "if=/dev/zero", "of=/dev/shm/x", "bs=1M", "count=100")
        assert subject.state("limited") == "running"


def test_a_limit_is_the_whole_machines(subject: Subject) -> None:
    with limited(subject, pids=30) as instance:
        fork = "my $p = fork; last if !defined $p; $p or exec qw(sleep 60); push @p, $p"
        script = f"$| = 1; for (1..20) {{ {fork} }} print 0 + @p, qq(\\n); <STDIN>; kill 9, @p"
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subject.popen(instance, "perl", "-e", script, streams=streams) as first:
            assert first.stdout.readline() == b"20\n"
            assert int(subject.run(instance, "perl", "-e", script).stdout) < 10
            first.stdin.close()


def test_a_machine_cannot_lift_its_limits(subject: Subject) -> None:
    with limited(subject, memory=64 * MIB) as instance:
        names = "-name memory.max -o -name memory.limit_in_bytes -o -name memory.memsw.limit_in_bytes"
        lift = "for value in max -1; do echo $value > $file; done"
        leave = "for file in $(find /sys/fs/cgroup -name cgroup.procs); do echo 0 > $file; done"
        eat = "exec perl -e 'my $x = q(x) x (200 << 20); print length $x'"
        script = f"for file in $(find /sys/fs/cgroup {names}); do {lift}; done; {leave}; {eat}"
        assert subject.run(instance, "sh", "-c", script).returncode != 0


def test_the_disk_is_limited_and_what_is_on_it_survives_a_stop(subject: Subject) -> None:
    with limited(subject, disk=100 * MIB) as instance:
        assert subject.run(instance, "dd", "if=/dev/zero", "of=/srv/fits", "bs=1M", "count=40").returncode == 0
        assert subject.run(instance, "dd", "if=/dev/zero", "of=/srv/large", "bs=1M", "count=150").returncode != 0
        subject.shell(instance, "rm /srv/large; echo kept > /srv/note")
        subject.provider.stop(instance, grace=1)
        instance = subject.provider.start(instance, subject.spec("limited", resources=Resources(disk=100 * MIB)))
        assert subject.shell(instance, "cat /srv/note; stat -c %s /srv/fits") == f"kept\n{40 * MIB}"
