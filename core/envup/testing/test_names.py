"""Machines know their own name, those of their peers, and a name server."""

from __future__ import annotations

import os

import pytest

from envup.provider import Instance
from envup.testing.subject import ENVIRONMENT, Subject

pytestmark = pytest.mark.usefixtures("check_no_leak")


def test_the_host_name_is_its_own(subject: Subject, machine: Instance) -> None:
    assert subject.shell(machine, "hostname; cat /etc/hostname") == "names\nnames"
    assert os.uname().nodename != "names"


def test_a_machine_resolves_its_own_name(subject: Subject, machine: Instance) -> None:
    assert subject.shell(machine, "getent hosts names")
    assert subject.shell(machine, "getent hosts localhost")


def test_peers_find_each_other_by_name(subject: Subject) -> None:
    _able_to_meet(subject)
    one, two = subject.spec("one", peers=("two",)), subject.spec("two", peers=("one",))
    with subject.running(one) as first, subject.running(two) as second:
        assert subject.shell(first, "getent hosts two")
        assert subject.shell(second, "getent hosts one")


def test_a_peer_is_found_after_it_started_again(subject: Subject) -> None:
    _able_to_meet(subject)
    one, two = subject.spec("one", peers=("two",)), subject.spec("two", peers=("one",))
    with subject.running(one) as first, subject.running(two) as second:
        subject.provider.stop(second, grace=1)
        second = subject.provider.start(second, two)
        own = subject.shell(second, "getent ahostsv4 two | head -n1 | cut -d' ' -f1")
        assert own in subject.shell(first, "getent ahostsv4 two").split()


def test_a_peer_answers_under_its_name(subject: Subject) -> None:
    _able_to_meet(subject)
    one, two = subject.spec("client", peers=("server",)), subject.spec("server", peers=("client",))
    listen = (
        "use IO::Socket::INET; my $s = IO::Socket::INET->new(Listen => 1, LocalPort => 18090, ReuseAddr => 1) or die;"
    )
    serve = f"{listen} open F, q(>), q(/tmp/listening); my $c = $s->accept; print $c qq(hello\\n)"
    call = "use IO::Socket::INET; my $s = IO::Socket::INET->new(q(server:18090)) or die $@; print <$s>"
    with subject.running(one) as client, subject.running(two) as server:
        subject.shell(server, f"perl -e '{serve}' >/dev/null 2>&1 & until [ -e /tmp/listening ]; do sleep 0.05; done")
        assert subject.shell(client, f"perl -e '{call}'") == "hello"


def test_the_host_name_may_differ_from_the_machines(subject: Subject) -> None:
    with subject.running(subject.spec("web", hostname="shop.example")) as instance:
        assert subject.shell(instance, "hostname") == "shop.example"
        assert subject.shell(instance, "getent hosts shop.example")


def test_there_is_a_name_server(subject: Subject, machine: Instance) -> None:
    assert "nameserver" in subject.shell(machine, "cat /etc/resolv.conf")


def test_a_machine_of_another_environment_is_no_peer(subject: Subject) -> None:
    with (
        subject.running(subject.spec("near")) as near,
        subject.running(subject.spec("distant"), environment=f"{ENVIRONMENT}x"),
    ):
        assert subject.run(near, "getent", "hosts", "distant").returncode != 0


def _able_to_meet(subject: Subject) -> None:
    subject.accepts(subject.spec("one", peers=("two",)), "peers")
