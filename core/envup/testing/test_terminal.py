"""A program that asks for a terminal gets one of the machine: its controlling one, sized like the caller's."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Iterator

import pytest

from envup.provider import Command, Instance
from envup.testing.subject import PATIENCE, Subject

WAIT = b"sh -c 'echo be\"\"gun; exec sleep 300'"
"""A line that says when the program is there, in another way than it is typed."""


class Session:
    """A program in a machine, started from a terminal of the host as a shell would."""

    def __init__(self, subject: Subject, machine: Instance, *argv: str) -> None:
        host = subject.provider.command(machine, Command(argv, terminal=True))
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            size = struct.pack("4H", 33, 111, 0, 0)
            fcntl.ioctl(0, termios.TIOCSWINSZ, size)
            os.execve(host.argv[0], host.argv, {**os.environ, **host.environment, "TERM": "xterm"})
        self.seen = b""

    def type(self, keys: bytes) -> None:
        os.write(self.terminal, keys)

    def expect(self, text: bytes) -> None:
        """Read until `text` was shown."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.seen:
            assert self._read(deadline), f"not shown: {text!r}; seen: {self.seen!r}"

    def end(self) -> int:
        """Read to the end; the exit code."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline):
            pass
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.terminal)
        return code

    def _read(self, deadline: float) -> bool:
        assert select.select([self.terminal], [], [], max(0, deadline - time.monotonic()))[0], (
            f"silent; seen: {self.seen!r}"
        )
        try:
            text = os.read(self.terminal, 65536)
        except OSError:
            return False
        self.seen += text
        return bool(text)


@pytest.fixture
def session(subject: Subject, machine: Instance) -> Iterator[Session]:
    # Readline takes the size and sets it again before each line, which may undo a change that comes in between.
    session = Session(subject, machine, "bash", "--norc", "--noprofile", "--noediting")
    session.type(b"PS1='$ '; echo be''gin\n")
    session.expect(b"begin\r\n")
    yield session


def test_the_terminal_is_the_machines_own_and_controlling(session: Session) -> None:
    session.type(b"tty; ls -l $(tty); ps -o tty= -p $$ 2>/dev/null; echo x > /dev/tty; echo $TERM; exit 5\n")
    assert session.end() == 5
    assert b"/dev/pts/" in session.seen
    assert b"\r\nx\r\n" in session.seen
    assert b"xterm" in session.seen


def test_it_has_the_size_of_the_callers_and_follows_it(session: Session) -> None:
    session.type(b"stty size\n")
    session.expect(b"33 111")
    fcntl.ioctl(session.terminal, termios.TIOCSWINSZ, struct.pack("4H", 40, 90, 0, 0))
    session.type(b"until [ \"$(stty size)\" = '40 90' ]; do sleep 0.1; done; echo fol''lowed; exit\n")
    session.expect(b"followed")
    assert session.end() == 0


def test_control_c_interrupts_the_program_and_not_the_session(session: Session) -> None:
    session.type(WAIT + b"; echo after $?\n")
    session.expect(WAIT + b"; echo after $?\r\n")
    session.expect(b"begun")
    session.type(b"\x03")
    session.type(b"echo al''ive\n")
    session.expect(b"alive")
    session.type(b"exit 9\n")
    assert session.end() == 9


def test_job_control_works(session: Session) -> None:
    session.type(WAIT + b"\n")
    session.expect(WAIT + b"\r\n")
    session.expect(b"begun")
    session.type(b"\x1a")
    session.expect(b"Stopped")
    session.type(b"kill %1; fg; exit 4\n")
    assert session.end() == 4


def test_every_byte_reaches_the_program(session: Session) -> None:
    session.type(b"stty raw -echo; echo re''ady; head -c 6 | od -An -tx1; stty sane; exit\n")
    session.expect(b"ready")
    session.type(b"\x03\x04\x1a\xff\x00\r")
    session.end()
    assert b"03 04 1a ff 00 0d" in session.seen


def test_much_output_is_whole(subject: Subject, machine: Instance) -> None:
    session = Session(subject, machine, "seq", "100000")
    assert session.end() == 0
    assert session.seen.split() == [b"%d" % number for number in range(1, 100001)]


def test_much_input_does_not_lock_up(session: Session) -> None:
    session.type(b"stty raw -echo; echo re''ady; head -c 200000 | wc -c; stty sane; exit\n")
    session.expect(b"ready")
    for _ in range(200):
        session.type(b"x" * 1000)
    session.end()
    assert b"200000" in session.seen


def test_a_signal_from_outside_ends_it_and_restores_the_terminal(subject: Subject, machine: Instance) -> None:
    session = Session(subject, machine, "sh", "-c", "echo ready; exec sleep 300")
    before = termios.tcgetattr(session.terminal)
    session.expect(b"ready")
    assert termios.tcgetattr(session.terminal) != before
    os.kill(session.pid, signal.SIGTERM)
    _pid, status = os.waitpid(session.pid, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM
    assert termios.tcgetattr(session.terminal) == before
    os.close(session.terminal)


def test_a_hangup_ends_it(subject: Subject, machine: Instance) -> None:
    session = Session(subject, machine, "sh", "-c", "echo ready; exec sleep 300")
    session.expect(b"ready")
    os.close(session.terminal)
    _pid, status = os.waitpid(session.pid, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGHUP
