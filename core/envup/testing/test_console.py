"""What the console, or the first program, says can be read."""

from __future__ import annotations

import os
import subprocess

import pytest

from envup.provider import Console
from envup.testing.subject import PATIENCE, Subject

pytestmark = pytest.mark.usefixtures("check_no_leak")


@pytest.mark.parametrize("state", ["created", "running", "stopped"])
def test_the_console_can_be_read_in_every_state(subject: Subject, state: str) -> None:
    subject.needs(Console)
    spec = subject.spec("console")
    instance = subject.create(spec)
    try:
        if state != "created":
            instance = subject.provider.start(instance, spec)
        if state == "stopped":
            subject.provider.stop(instance, grace=1)
        host = subject.provider.console(instance)
        done = subprocess.run(
            host.argv, env={**os.environ, **host.environment}, capture_output=True, timeout=PATIENCE, check=False
        )
        assert (done.returncode, done.stderr) == (0, b"")
    finally:
        subject.provider.destroy(instance)


def test_what_is_written_to_the_console_can_be_followed(subject: Subject) -> None:
    subject.needs(Console)
    with subject.running(subject.spec("console")) as instance:
        host = subject.provider.console(instance, follow=True)
        with subprocess.Popen(host.argv, env={**os.environ, **host.environment}, stdout=subprocess.PIPE) as reader:
            assert reader.stdout is not None
            try:
                for text in ("first", "second"):
                    there = "if [ -c /dev/console ]; then echo /dev/console; else echo /proc/1/fd/1; fi"
                    subject.shell(instance, f"echo {text} > $({there})")
                    while text.encode() not in reader.stdout.readline():
                        pass
            finally:
                reader.terminate()
        assert reader.returncode in (-15, 0, 143)
