"""What the agent of a virtual machine does with a request, and the program on the host that stands in: both ends of one
socket, without a machine between them."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from envup.provider import Command
from envup_kvm import commands, link, session, wire

FACTS = {"environment": {"GREETING": "grüß dich"}, "kind": "small"}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[str]:
    """A place whose way leads to sessions on this host."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(tmp_path / link.WAY))
    listener.listen()
    agent = os.fork()
    if agent == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            connection, _address = listener.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                listener.close()
                session.serve(connection, FACTS)
            connection.close()
    listener.close()
    yield str(tmp_path)
    os.kill(agent, signal.SIGKILL)
    os.waitpid(agent, 0)


def run(place: str, *argv: str, data: bytes = b"", **fields: str) -> subprocess.CompletedProcess[bytes]:
    user = fields.pop("user", f"{os.geteuid()}:{os.getegid()}")
    host = commands.enter(place, Command(argv, user=user, **fields))  # type: ignore[arg-type]
    return subprocess.run(
        host.argv, input=data, capture_output=True, env={**os.environ, **host.environment}, timeout=30, check=False
    )


@pytest.mark.root
@pytest.mark.parametrize("code", [0, 7, 125, 126, 127, 255])
def test_the_exit_code_is_the_programs(place: str, code: int) -> None:
    assert run(place, "sh", "-c", f"exit {code}").returncode == code


@pytest.mark.root
def test_a_death_by_signal_is_told_as_one(place: str) -> None:
    assert run(place, "sh", "-c", "kill -KILL $$").returncode in (-9, 137)


@pytest.mark.root
def test_streams_stay_apart_and_variables_arrive(place: str) -> None:
    done = run(place, "sh", "-c", 'cat; echo "$GREETING" >&2', data=bytes(range(256)) * 20000)
    assert done.stdout == bytes(range(256)) * 20000
    assert done.stderr.decode() == "grüß dich\n"


@pytest.mark.root
def test_bytes_that_are_no_text_arrive(place: str) -> None:
    assert run(place, "printf", "%s", os.fsdecode(b"\xff\n'")).stdout == b"\xff\n'"


@pytest.mark.root
def test_a_program_that_is_not_there_is_told(place: str) -> None:
    done = run(place, "no-such-program")
    assert (done.returncode, done.stderr) == (127, b"envup: no-such-program: not found\n")


@pytest.mark.root
def test_the_end_of_the_caller_ends_the_program(place: str, tmp_path: Path) -> None:
    host = commands.enter(place, Command(("sh", "-c", f"echo $$ > {tmp_path}/pid; echo ready; exec sleep 300")))
    with subprocess.Popen(host.argv, stdout=subprocess.PIPE) as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline() == b"ready\n"
        program = os.pidfd_open(int((tmp_path / "pid").read_text()))
        caller.kill()
    assert select.select([program], [], [], 20)[0]
    os.close(program)


def test_nobody_to_reach_is_a_transport_error(tmp_path: Path) -> None:
    done = run(str(tmp_path), "true")
    assert done.returncode == 125
    assert b"not running" in done.stderr


def test_frames_are_put_together_again() -> None:
    stream = wire.frame(wire.INPUT, b"abc") + wire.numbered(wire.ENDED, 9)
    frames = wire.Frames()
    found = [frame for byte in stream for frame in frames.feed(bytes([byte]))]
    assert found == [(wire.INPUT, b"abc"), (wire.ENDED, b"\0\0\0\x09")]
