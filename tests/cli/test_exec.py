"""`exec` and `shell`: the program's streams, arguments and exit code are its own."""

from __future__ import annotations

import os
import pty
import signal
import subprocess

import pytest
from cli_shop import ENVUP, Shop

from envup.cli.exec import split
from envup.errors import UsageError


@pytest.fixture
def up(shop: Shop) -> Shop:
    assert shop.run("up", "--quiet").returncode == 0
    return shop


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["web", "ls", "-l"], ("web", ("ls", "-l"))),
        (["web", "--", "ls", "--", "-l"], ("web", ("ls", "--", "-l"))),
        (["--", "ls", "-l"], (None, ("ls", "-l"))),
        (["--", "--", "x"], (None, ("--", "x"))),
        (["web", "--", "--"], ("web", ("--",))),
        (["web", ""], ("web", ("",))),
    ],
)
def test_everything_after_the_machine_is_the_programs(words: list[str], expected: tuple[str, tuple[str, ...]]) -> None:
    assert split(words) == expected


@pytest.mark.parametrize("words", [[], ["web"], ["--"], ["web", "--"]])
def test_a_call_without_a_program_is_wrong_usage(words: list[str]) -> None:
    with pytest.raises(UsageError):
        split(words)


@pytest.mark.parametrize(
    "argument", ["", "a b", "it's", 'a"b', "new\nline", "é数", "--json", "--help", "-e", "--", "$HOME", "*"]
)
def test_arguments_arrive_verbatim(up: Shop, argument: str) -> None:
    assert up.run("exec", "web", "printf", "%s", argument).stdout == argument


@pytest.mark.parametrize("code", [0, 1, 2, 3, 125, 126, 127, 130, 255])
def test_the_exit_code_is_the_programs(up: Shop, code: int) -> None:
    assert up.run("exec", "web", "sh", "-c", f"exit {code}").returncode == code


def test_streams_are_the_programs(up: Shop) -> None:
    result = up.run("exec", "web", "sh", "-c", "cat; echo err >&2", input="in")
    assert (result.stdout, result.stderr) == ("in", "err\n")


def test_options_before_the_machine_are_envups(up: Shop) -> None:
    result = up.run("exec", "-e", "A=1 2", "--env=B=", "web", "sh", "-c", 'echo "$A|$B|"')
    assert result.stdout == "1 2||\n"


def test_a_variable_is_passed_on_by_its_name(up: Shop) -> None:
    up.environment["PASSED"] = "on"
    assert up.run("exec", "-e", "PASSED", "web", "printenv", "PASSED").stdout == "on\n"
    assert up.run("exec", "-e", "NO_SUCH", "web", "true").returncode == 2
    assert up.run("exec", "-e", "=x", "web", "true").returncode == 2


def test_envup_becomes_the_program_and_signals_reach_it(up: Shop) -> None:
    with subprocess.Popen(
        [ENVUP, "exec", "web", "sh", "-c", "echo $$; exec sleep 60"],
        cwd=up.directory,
        env=up.environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) == process.pid
        process.terminate()
        assert process.wait(30) == -signal.SIGTERM


def test_signals_that_python_ignores_are_given_back(up: Shop) -> None:
    line = up.run("exec", "web", "grep", "SigIgn", "/proc/self/status").stdout
    assert not int(line.split()[1], 16) >> (signal.SIGPIPE - 1) & 1


def test_a_stopped_machine_is_125(up: Shop) -> None:
    up.run("stop")
    result = up.run("exec", "web", "true")
    assert result.returncode == 125
    assert "machine 'web' is stopped" in result.stderr
    assert "`env up web`" in result.stderr
    assert up.run("shell", "web").returncode == 125


def test_a_way_in_that_is_missing_is_125(up: Shop) -> None:
    result = up.run("exec", "--user", "nobody-there", "web", "true")
    assert result.returncode == 125
    assert "/no/such/way/in" in result.stderr


def test_before_up_there_is_no_machine_to_reach(shop: Shop) -> None:
    assert shop.run("exec", "web", "true").returncode == 125


def test_an_unknown_machine_is_wrong_usage_with_a_suggestion(up: Shop) -> None:
    result = up.run("exec", "wbe", "true")
    assert result.returncode == 2
    assert "did you mean 'web'?" in result.stderr


def test_an_error_of_exec_as_json_leaves_standard_output_to_the_program(up: Shop) -> None:
    up.run("stop")
    result = up.run("exec", "--json", "web", "true")
    assert result.stdout == ""
    assert '"code": 125' in result.stderr


def test_the_shell_has_the_terminal_and_its_exit_code(up: Shop) -> None:
    parent, child = pty.openpty()
    with subprocess.Popen(
        [ENVUP, "shell", "web"], cwd=up.directory, env=up.environment, stdin=child, stdout=child, stderr=child
    ) as process:
        os.close(child)
        os.write(parent, b"test -t 0 && exit 7\n")
        assert process.wait(30) == 7
    os.close(parent)
