"""Several programs are shown line by line until all have ended."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from envup.cli.following import follow
from envup.errors import EnvupError
from envup.provider import HostCommand


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_lines_are_whole_though_one_has_no_end(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    both = [("db steps", HostCommand(("printf", "one\\ntwo"))), ("web steps", HostCommand(("printf", "three\\n")))]
    assert follow(both) == 0
    assert sorted(capfdbinary.readouterr().out.splitlines(keepends=True)) == [
        b"db steps| one\n",
        b"db steps| two\n",
        b"web steps| three\n",
    ]


def test_the_exit_code_is_the_worst_as_a_shell_has_it() -> None:
    killed = HostCommand(("sh", "-c", "kill -KILL $$"))
    assert follow([("a", HostCommand(("true",))), ("b", killed), ("c", HostCommand(("false",)))]) == 137


def test_what_was_started_is_ended_when_another_cannot_be() -> None:
    with pytest.raises(EnvupError, match="cannot run /no/such/program"):
        follow([("a", HostCommand(("sleep", "1000"))), ("b", HostCommand(("/no/such/program",)))])


def test_variables_of_a_command_reach_it(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    told = HostCommand(("sh", "-c", "echo $WHERE"), {"WHERE": "here"})
    assert follow([("a", told), ("b", HostCommand(("true",)))]) == 0
    assert capfdbinary.readouterr().out == b"a| here\n"
