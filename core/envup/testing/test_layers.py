"""A layer is what a machine's files were at one moment, and others begin with it."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from envup.errors import EnvupError
from envup.provider import Flush, Instance, Layer, Layers, MemoryLayers
from envup.testing.subject import Subject
from envup.value import replace

ONE, TWO = "0" * 63 + "1", "0" * 63 + "2"
NOTE = {"facts": [{}], "step": "one"}
FILL = """
mkdir -p /srv/deep/er && chmod 2751 /srv/deep && echo text > /srv/deep/er/file && chown 1234:4321 /srv/deep/er/file
chmod 4711 /srv/deep/er/file && ln -s file /srv/deep/er/link && ln /srv/deep/er/file /srv/deep/er/second
rm /etc/motd /etc/issue && rm -r /usr/share/doc && echo changed > /etc/issue.net && mkdir /usr/share/doc
touch -d @1234567890 /srv/deep && mkfifo /srv/fifo
"""
LOOK = """
stat -c '%n %a %u %g %h' /srv/deep /srv/deep/er/file; readlink /srv/deep/er/link; cat /srv/deep/er/second /etc/issue.net
stat -c %Y /srv/deep; stat -c %F /srv/fifo; ls /usr/share/doc; ls /etc/motd /etc/issue 2>/dev/null || echo gone
"""


STATE = "cat /dev/shm/state; cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -x '432[1]'"


@pytest.fixture
def subject_with_layers(subject: Subject) -> Iterator[Subject]:
    """The provider, whose layers are gone afterwards."""
    subject.needs(Layers)
    if not subject.provider.keeps_layers(subject.spec("first")):
        subject.leave_out("the ability Layers, for machines declared so")
    yield subject
    for key in (TWO, ONE):
        subject.provider.remove_layer(key)


def keep(subject: Subject, instance: Instance, key: str, note: Mapping[str, Any] = NOTE) -> None:
    if isinstance(subject.provider, Flush):
        subject.provider.flush(instance)
    subject.provider.keep_layer(instance, key, note)


def layers(subject: Subject) -> dict[str, Layer]:
    """Those of the kit, as another command sees them."""
    provider = subject.again()
    assert isinstance(provider, Layers)
    return {layer.key: layer for layer in provider.layers() if layer.key in (ONE, TWO)}


@contextlib.contextmanager
def begun(subject: Subject, name: str, key: str) -> Iterator[Instance]:
    """A machine that begins with a layer, and runs."""
    with subject.running(subject.spec(name), image=replace(subject.image, layer=key)) as instance:
        yield instance


def test_a_machine_begins_with_all_that_another_had_written_and_removed(subject_with_layers: Subject) -> None:
    subject = subject_with_layers
    with subject.running(subject.spec("first")) as first:
        subject.shell(first, FILL)
        before = subject.shell(first, LOOK)
        keep(subject, first, ONE)
        assert subject.shell(first, LOOK) == before
        subject.shell(first, "echo later > /srv/later")
    assert "gone" in before.splitlines()
    with begun(subject, "second", ONE) as second:
        assert subject.shell(second, LOOK) == before
        assert subject.run(second, "test", "-e", "/srv/later").returncode == 1
        assert subject.shell(second, "hostname") == "second"


def test_programs_go_on_while_it_is_kept(subject_with_layers: Subject) -> None:
    subject = subject_with_layers
    wait = "until [ -e /srv/end ]; do sleep 0.05; done; echo it went on"
    with (
        subject.running(subject.spec("first")) as first,
        subject.popen(first, "sh", "-c", wait, streams={"stdout": subprocess.PIPE}) as program,
    ):
        keep(subject, first, ONE)
        assert program.poll() is None
        assert subject.state("first") == "running"
        subject.shell(first, "touch /srv/end")
        assert program.communicate(timeout=60)[0] == b"it went on\n"


def test_machines_of_one_layer_do_not_see_each_other(subject_with_layers: Subject) -> None:
    subject = subject_with_layers
    with subject.running(subject.spec("first")) as first:
        subject.shell(first, "echo layer > /srv/file")
        keep(subject, first, ONE)
    with begun(subject, "second", ONE) as second:
        subject.shell(second, "echo second > /srv/file; touch /srv/own")
        with begun(subject, "third", ONE) as third:
            assert subject.shell(third, "cat /srv/file; ls /srv") == "layer\nfile"
        assert subject.shell(second, "cat /srv/file") == "second"


def test_layers_stand_on_layers(subject_with_layers: Subject) -> None:
    subject = subject_with_layers
    with subject.running(subject.spec("first")) as first:
        subject.shell(first, "echo one > /srv/one; echo one > /srv/both; mkdir /srv/tree; touch /srv/tree/old")
        keep(subject, first, ONE)
    with begun(subject, "second", ONE) as second:
        subject.shell(second, "rm /srv/one; echo two > /srv/both; rm -r /srv/tree; mkdir /srv/tree")
        keep(subject, second, TWO)
    assert (layers(subject)[TWO].parent, layers(subject)[ONE].parent) == (ONE, "")
    with begun(subject, "third", TWO) as third:
        subject.provider.stop(third, grace=1)
        third = subject.provider.start(third, subject.spec("third"))
        assert subject.shell(third, "cat /srv/both; ls /srv; ls /srv/tree") == "two\nboth\ntree"


def test_a_layer_is_told_with_what_was_noted_and_kept_once(subject_with_layers: Subject) -> None:
    subject = subject_with_layers
    with subject.running(subject.spec("first")) as first:
        subject.shell(first, "head -c 3000000 /dev/urandom > /srv/big")
        for note in (NOTE, {"facts": [], "step": "other"}):
            keep(subject, first, ONE, note)
    told = layers(subject)[ONE]
    assert told.note == NOTE
    assert 2_900_000 < told.size < 300_000_000
    assert 0 < told.created <= told.last_used + 2


def test_what_is_in_use_is_not_removed(subject_with_layers: Subject) -> None:
    subject = subject_with_layers
    with subject.running(subject.spec("first")) as first:
        keep(subject, first, ONE)
    assert not layers(subject)[ONE].in_use
    with begun(subject, "second", ONE) as second:
        assert layers(subject)[ONE].in_use
        with pytest.raises(EnvupError, match="in use"):
            subject.provider.remove_layer(ONE)
        keep(subject, second, TWO)
        with begun(subject, "third", TWO):
            assert {key: layer.in_use for key, layer in layers(subject).items()} == {ONE: True, TWO: True}
    assert {key: layer.in_use for key, layer in layers(subject).items()} == {ONE: False, TWO: False}
    with pytest.raises(EnvupError, match="in use"):
        subject.provider.remove_layer(ONE)
    for key in (TWO, ONE, ONE):
        subject.provider.remove_layer(key)
    assert layers(subject) == {}
    with pytest.raises(EnvupError, match="gone"):
        subject.create(subject.spec("third"), image=replace(subject.image, layer=ONE))
    assert subject.state("third") == "absent"


def test_a_machine_that_was_stopped_is_kept(subject_with_layers: Subject) -> None:
    subject = subject_with_layers
    with subject.running(subject.spec("first")) as first:
        subject.shell(first, "echo layer > /srv/file")
        subject.provider.stop(first, grace=1)
        subject.provider.keep_layer(first, ONE, NOTE)
        assert subject.state("first") == "stopped"
    with begun(subject, "second", ONE) as second:
        assert subject.shell(second, "cat /srv/file") == "layer"


def test_machines_go_on_from_the_memory_of_a_layer_each_as_itself(subject_with_layers: Subject) -> None:
    subject = subject_with_layers
    subject.needs(MemoryLayers)
    with subject.running(subject.spec("first")) as first:
        subject.shell(first, f"echo {'0' * 32} > /etc/machine-id; echo kept > /dev/shm/state; setsid -f sleep 4321")
        subject.provider.flush(first)
        subject.provider.keep_layer_with_memory(first, ONE, NOTE)
        assert subject.shell(first, STATE) == "kept\n4321"
        identities = [identity(subject, first)]
    for name in ("second", "third"):
        with begun(subject, name, ONE) as instance:
            assert subject.shell(instance, STATE) == "kept\n4321", "it has booted"
            assert subject.shell(instance, "hostname; cat /etc/hostname") == f"{name}\n{name}"
            assert abs(float(subject.shell(instance, "date +%s.%N")) - time.time()) < 10, "its clock stood still"
            identities.append(identity(subject, instance))
            subject.provider.stop(instance, grace=1)
            instance = subject.provider.start(instance, subject.spec(name))
            assert subject.run(instance, "test", "-e", "/dev/shm/state").returncode == 1, "it goes on from there twice"
            assert subject.shell(instance, "cat /etc/machine-id") == identities[-1][0]
    for values in zip(*identities, strict=True):
        assert len(set(values)) == len(identities), values


def identity(subject: Subject, instance: Instance) -> list[str]:
    """What no two machines have in common."""
    files = ("/etc/machine-id", "/proc/sys/kernel/random/boot_id", "/sys/class/net/eth0/address")
    random = "head -c 16 /dev/urandom | od -An -tx1 | tr -d '\\n'"
    return subject.shell(instance, f"cat {' '.join(files)}; {random}").splitlines()
