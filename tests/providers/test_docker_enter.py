"""Into containers of every kind: without a shell, without root's powers, paused, gone; and their logs."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker_engines import PATIENCE, Forwarder, busybox, imported, popen, processes, run, running

from envup_docker import commands, endpoint
from envup_docker.endpoint import Endpoint
from envup_docker.engine import Engine


@pytest.fixture(scope="module")
def engine() -> Engine:
    """This host's engine."""
    return Engine(endpoint.find(os.environ))


@pytest.fixture(scope="module")
def image(engine: Engine) -> Iterator[str]:
    """A system of busybox alone."""
    with imported(engine, busybox(shell=True)) as name:
        yield name


@pytest.fixture(scope="module")
def container(engine: Engine, image: str) -> Iterator[str]:
    """A running container."""
    with running(engine, image) as made:
        yield made


def test_a_container_without_a_shell_is_told_as_such(engine: Engine) -> None:
    with (
        imported(engine, busybox(shell=False)) as image,
        running(engine, image, ["/busybox", "sleep", "1000"]) as container,
    ):
        done = run(engine.endpoint, container, "/busybox", "true")
    assert done.returncode == 125
    assert b"/bin/sh" in done.stderr


def test_a_container_that_is_paused_or_gone_is_told_as_such(engine: Engine, image: str) -> None:
    with running(engine, image) as container:
        engine.call("POST", f"/containers/{container}/pause")
        done = run(engine.endpoint, container, "true")
        assert (done.returncode, done.stderr) == (125, b"envup: the machine is suspended\n")
        engine.call("POST", f"/containers/{container}/unpause")
        engine.call("POST", f"/containers/{container}/kill")
        engine.call("POST", f"/containers/{container}/wait")
        done = run(engine.endpoint, container, "true")
        assert (done.returncode, done.stderr) == (125, b"envup: the machine is not running\n")
    done = run(engine.endpoint, container, "true")
    assert (done.returncode, done.stderr) == (125, b"envup: the machine is gone\n")


def test_an_unknown_group_is_an_error_that_names_it(engine: Engine, container: str) -> None:
    done = run(engine.endpoint, container, "true", user="0:nemo")
    assert done.returncode in (125, 126)
    assert b"nemo" in done.stderr


def test_an_engine_that_goes_away_is_a_failed_transport(engine: Engine, container: str, tmp_path: Path) -> None:
    forwarder = Forwarder(tmp_path / "engine.sock")
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.PIPE}
    where = Endpoint(forwarder.address)
    with popen(where, container, "sh", "-c", "echo ready; cat", streams=streams) as process:
        assert process.stdout.readline() == b"ready\n"
        forwarder.close()
        _output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 125
    assert b"engine" in errors


def test_a_program_that_closes_its_output_is_waited_for(engine: Engine, container: str) -> None:
    assert run(engine.endpoint, container, "sh", "-c", "exec >&- 2>&-; sleep 1; exit 3").returncode == 3


def test_much_input_and_output_at_once_do_not_lock_up(engine: Engine, container: str) -> None:
    data = os.urandom(8 << 20)
    assert run(engine.endpoint, container, "cat", data=data).stdout == data


def test_a_signal_is_heard_while_nobody_reads_the_output(engine: Engine, container: str) -> None:
    with popen(engine.endpoint, container, "sh", "-c", "exec yes 4802", streams={"stdout": -1}) as process:
        assert process.stdout.read(5) == b"4802\n"
        process.terminate()
        process.wait(PATIENCE)
    assert process.returncode == -signal.SIGTERM
    assert processes(engine, container, "4802") == 0


def test_a_program_of_somebody_else_is_ended_where_root_has_no_powers(engine: Engine, image: str) -> None:
    streams = {"stdout": subprocess.PIPE}
    with (
        running(engine, image, CapDrop=["ALL"]) as container,
        popen(engine.endpoint, container, "sh", "-c", "echo ready; sleep 4803", user="1:1", streams=streams) as process,
    ):
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
        assert process.wait(PATIENCE) == -signal.SIGTERM
        assert processes(engine, container, "4803") == 0


def test_what_ignores_term_is_killed(engine: Engine, container: str) -> None:
    script = "trap '' TERM; echo ready; while :; do sleep 4804; done"
    with popen(engine.endpoint, container, "sh", "-c", script, streams={"stdout": -1}) as process:
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
        assert process.wait(PATIENCE) in (-signal.SIGKILL, 128 + signal.SIGKILL)
    assert processes(engine, container, "4804") == 0


def test_a_supervised_program_ends_with_its_supervisor(engine: Engine, container: str) -> None:
    from envup.provider import Command

    host = commands.enter(engine.endpoint, container, Command(("sh", "-c", "echo ready; sleep 4805")))
    variables = {**os.environ, **host.environment, "ENVUP_SUPERVISED": "1"}
    line = ["sh", "-c", '"$@" & wait', "sh", *host.argv]
    with subprocess.Popen(line, env=variables, stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline() == b"ready\n"
        supervisor.kill()
        assert supervisor.stdout.read() == b""
    assert processes(engine, container, "4805") == 0


def test_nothing_is_left_of_a_program_that_was_run(engine: Engine, container: str) -> None:
    before = len(engine.call("GET", f"/containers/{container}/top")["Processes"])
    assert run(engine.endpoint, container, "true").returncode == 0
    assert len(engine.call("GET", f"/containers/{container}/top")["Processes"]) == before


def test_the_log_is_printed_as_it_was_said(engine: Engine, image: str) -> None:
    with running(engine, image, ["sh", "-c", "echo out; echo err >&2"]) as container:
        engine.call("POST", f"/containers/{container}/wait")
        host = commands.console(engine.endpoint, container, follow=False)
        done = subprocess.run(host.argv, capture_output=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"out\n", b"err\n")


def test_a_followed_log_goes_on_and_ends_with_the_container(engine: Engine, image: str) -> None:
    with running(
        engine, image, ["sh", "-c", "echo first; until [ -e /go ]; do sleep 0.1; done; echo last"]
    ) as container:
        host = commands.console(engine.endpoint, container, follow=True)
        with subprocess.Popen(host.argv, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"first\n"
            run(engine.endpoint, container, "sh", "-c", ": > /go")
            assert process.stdout.read() == b"last\n"
            assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_followed_log_is_ended_by_a_signal(engine: Engine, image: str, number: signal.Signals) -> None:
    with running(engine, image, ["sh", "-c", "echo first; sleep 1000"]) as container:
        host = commands.console(engine.endpoint, container, follow=True)
        with subprocess.Popen(host.argv, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.send_signal(number)
            assert process.wait(PATIENCE) == -number


def test_the_log_of_a_container_that_is_gone_is_an_error(engine: Engine) -> None:
    host = commands.console(engine.endpoint, "no-such-container", follow=False)
    done = subprocess.run(host.argv, capture_output=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (125, b"envup: the machine is gone\n")
