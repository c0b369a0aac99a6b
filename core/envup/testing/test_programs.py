"""A program in a machine behaves as one on the host: arguments, streams, exit code, signals, user, variables."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from envup.errors import EnvupError
from envup.provider import Instance
from envup.testing.subject import PATIENCE, Subject


@pytest.mark.parametrize("code", [0, 1, 2, 42, 124, 125, 126, 127, 255])
def test_the_exit_code_is_the_programs(subject: Subject, machine: Instance, code: int) -> None:
    assert subject.run(machine, "sh", "-c", f"exit {code}").returncode == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGPIPE, signal.SIGUSR1])
def test_a_death_by_signal_is_told_as_one(subject: Subject, machine: Instance, number: signal.Signals) -> None:
    assert subject.run(machine, "sh", "-c", f"kill -{int(number)} $$").returncode in (-number, 128 + number)


@pytest.mark.parametrize(
    "argument",
    [
        "",
        " ",
        "two  words",
        "it's",
        'a "quote"',
        "line\nbreak\n",
        "tab\t",
        "$HOME `id` $(id) \\ * ?",
        "ünïcödé 雪",
        "-n",
        "--",
        b"\xff\xfe",
    ],
)
def test_arguments_arrive_verbatim(subject: Subject, machine: Instance, argument: str | bytes) -> None:
    done = subject.run(machine, "printf", "[%s][%s]", argument, "end")
    assert done.stdout == b"[" + os.fsencode(argument) + b"][end]"


def test_many_and_long_arguments_arrive(subject: Subject, machine: Instance) -> None:
    arguments = [f"argument {number} " + "x" * 100 for number in range(5000)]
    done = subject.run(machine, "sh", "-c", 'echo $#; eval "echo \\${$#}"', "sh", *arguments)
    assert done.stdout.decode().split("\n")[:2] == ["5000", arguments[-1]]


def test_output_and_errors_stay_apart(subject: Subject, machine: Instance) -> None:
    done = subject.run(machine, "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")


def test_bytes_of_standard_input_arrive(subject: Subject, machine: Instance) -> None:
    data = bytes(range(256)) * 4096
    assert subject.run(machine, "cat", data=data).stdout == data


def test_fifty_megabytes_of_output_arrive(subject: Subject, machine: Instance) -> None:
    done = subject.run(machine, "head", "-c", "50000000", "/dev/zero")
    assert len(done.stdout) == 50_000_000
    assert not done.stdout.strip(b"\0")


def test_the_output_of_a_program_that_ends_at_once_is_whole(subject: Subject, machine: Instance) -> None:
    assert {subject.run(machine, "echo", "quick").stdout for _ in range(20)} == {b"quick\n"}


def test_input_that_is_not_read_disturbs_nothing(subject: Subject, machine: Instance) -> None:
    done = subject.run(machine, "sh", "-c", "echo done", data=b"x" * 1_000_000)
    assert (done.returncode, done.stdout) == (0, b"done\n")


def test_a_closed_pipe_ends_the_writer(subject: Subject, machine: Instance) -> None:
    process = subject.popen(machine, "yes", streams={"stdout": subprocess.PIPE})
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(PATIENCE) in (-signal.SIGPIPE, 128 + signal.SIGPIPE)


@pytest.mark.parametrize(
    ("program", "code"),
    [("no-such-program", 127), ("/no/such/program", 127), ("/etc/passwd", 126), ("/etc", 126), ("", 127)],
)
def test_what_cannot_be_executed_is_told_as_env_does(
    subject: Subject, machine: Instance, program: str, code: int
) -> None:
    done = subject.run(machine, program)
    assert done.returncode == code
    assert done.stderr


def test_the_default_user_is_root_at_home(subject: Subject, machine: Instance) -> None:
    assert subject.shell(machine, "id -u; pwd; echo $HOME $USER") == "0\n/root\n/root root"


def test_other_users_have_their_groups_home_and_shell(subject: Subject, machine: Instance) -> None:
    subject.shell(
        machine, "id app 2>/dev/null || { groupadd -g 4242 crew; useradd -m -u 4241 -G crew -s /bin/sh app; }"
    )
    assert subject.shell(machine, "id -un; id -Gn; pwd; echo $HOME $USER $SHELL", user="app") == (
        "app\napp crew\n/home/app\n/home/app app /bin/sh"
    )
    assert subject.shell(machine, "id -u; id -g", user="4241") == "4241\n4241"
    assert subject.shell(machine, "id -un; id -gn; id -G", user="app:crew") == "app\ncrew\n4242"
    assert subject.shell(machine, "id -u; id -g; pwd", user="12345:23456") == "12345\n23456\n/"


def test_an_unknown_user_is_an_error_that_names_it(subject: Subject, machine: Instance) -> None:
    done = subject.run(machine, "true", user="nemo")
    assert done.returncode in (125, 126)
    assert b"nemo" in done.stderr
    subject.shell(machine, "echo odd:x:4294967295:0::/:/bin/sh >> /etc/passwd")
    for user in ("odd", "4294967295", "root:4294967295", "4294967296"):  # 4294967295 is (uid_t) -1: no change at all
        done = subject.run(machine, "id", user=user)
        assert done.returncode in (125, 126)
        assert done.stdout == b""
        assert b"Traceback" not in done.stderr


def test_the_working_directory_is_as_asked(subject: Subject, machine: Instance) -> None:
    assert subject.shell(machine, "pwd", workdir="/usr/share") == "/usr/share"
    done = subject.run(machine, "true", workdir="/not/there")
    assert done.returncode in (125, 126)
    assert b"/not/there" in done.stderr


def test_variables_come_from_the_machine_and_the_command_alone(subject: Subject, machine: Instance) -> None:
    os.environ["OF_THE_HOST"] = "1"
    try:
        done = subject.run(machine, "env", "-0", environment={"LINES_": "a\nb", "EMPTY": "", "QUOTE": "'\""})
    finally:
        del os.environ["OF_THE_HOST"]
    variables = dict(part.partition("=")[::2] for part in done.stdout.decode().split("\0") if part)
    assert variables.items() >= {"GREETING": "grüß dich", "LINES_": "a\nb", "EMPTY": "", "QUOTE": "'\""}.items()
    assert not {name for name in variables if name.startswith(("ENVUP", "PYTHON", "OF_THE_HOST", "VIRTUAL_ENV"))}
    assert subject.run(machine, "sh", "-c", "echo $GREETING", environment={"GREETING": "other"}).stdout == b"other\n"


def test_values_of_variables_are_in_no_argument_list(subject: Subject, machine: Instance) -> None:
    from envup.provider import Command

    command = subject.provider.command(machine, Command(("true",), environment={"TOKEN": "s3cr3t-value"}))
    assert "s3cr3t-value" not in " ".join(command.argv)


def test_no_arguments_give_a_login_shell(subject: Subject, machine: Instance) -> None:
    done = subject.run(machine, data=b"shopt -q login_shell && echo login; exit 3\n")
    assert (done.returncode, done.stdout) == (3, b"login\n")


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2]
)
def test_a_signal_reaches_the_program(subject: Subject, machine: Instance, number: signal.Signals) -> None:
    script = f"trap 'echo caught; exit 7' {int(number)}; echo ready; while :; do sleep 60 >/dev/null & wait $!; done"
    with subject.popen(machine, "bash", "-c", script, streams={"stdout": subprocess.PIPE}) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        output, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, output) == (7, b"caught\n")


def test_programs_run_beside_each_other(subject: Subject, machine: Instance) -> None:
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    programs = [subject.popen(machine, "sh", "-c", "read word; echo $word", streams=streams) for _ in range(8)]
    for number, program in enumerate(programs):
        assert program.communicate(b"%d\n" % number, timeout=PATIENCE)[0] == b"%d\n" % number
        assert program.returncode == 0


def test_a_daemon_outlives_the_program_that_started_it(subject: Subject, machine: Instance) -> None:
    daemon = "setsid -f sh -c 'echo $$ > /tmp/daemon; exec sleep 4713' >/dev/null 2>&1 </dev/null"
    subject.shell(machine, daemon)
    _wait_for(subject, machine, "4713", 1)
    subject.shell(machine, "kill $(cat /tmp/daemon)")
    _wait_for(subject, machine, "4713", 0)


def test_programs_of_the_administrator_are_found(subject: Subject, machine: Instance) -> None:
    path = subject.shell(machine, "echo $PATH").split(":")
    assert {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"} <= {*path}
    assert subject.run(machine, "useradd", "--help").returncode == 0


def test_a_set_user_bit_counts(subject: Subject, machine: Instance) -> None:
    subject.shell(machine, "cp /usr/bin/id /srv/whose; chmod 4755 /srv/whose")
    assert subject.shell(machine, "/srv/whose -u; /srv/whose -ru", user="12345:23456") == "0\n12345"


def test_term_ends_the_programs_children(subject: Subject, machine: Instance) -> None:
    process = subject.popen(machine, "sh", "-c", "sleep 4711 & sleep 4711; true", streams={"stdout": subprocess.PIPE})
    _wait_for(subject, machine, "4711", 2)
    process.terminate()
    process.wait(PATIENCE)
    process.stdout.close()
    assert _count(subject, machine, "4711") == 0


def test_a_killed_caller_takes_the_program_along(subject: Subject, machine: Instance) -> None:
    process = subject.popen(machine, "sleep", "4712")
    _wait_for(subject, machine, "4712", 1)
    process.kill()
    process.wait(PATIENCE)
    _wait_for(subject, machine, "4712", 0)


def test_dispositions_and_descriptors_are_those_of_a_fresh_process(subject: Subject, machine: Instance) -> None:
    text = subject.shell(machine, "grep -E '^Sig(Blk|Ign)' /proc/self/status; ls /proc/self/fd | wc -l; umask")
    assert text.split() == ["SigBlk:", "0" * 16, "SigIgn:", "0" * 16, "4", "0022"]


def test_a_stopped_machine_cannot_be_entered(subject: Subject) -> None:
    instance = subject.create(subject.spec("asleep"))
    try:
        try:
            code = subject.run(instance, "true").returncode
        except EnvupError as error:
            code = error.code
        assert code == 125
    finally:
        subject.provider.destroy(instance)


def test_a_machine_that_stops_meanwhile_is_a_transport_error(subject: Subject) -> None:
    from envup.provider import Command

    with subject.running(subject.spec("brief")) as instance:
        command = subject.provider.command(instance, Command(("true",)))
        subject.provider.stop(instance, grace=1)
        done = subprocess.run(command.argv, capture_output=True, check=False, timeout=PATIENCE)
        assert done.returncode == 125
        assert done.stderr


def _count(subject: Subject, machine: Instance, mark: str) -> int:
    script = 'for f in /proc/[0-9]*/cmdline; do tr "\\0" " " < $f 2>/dev/null || true; echo; done'
    return subject.shell(machine, script).splitlines().count(f"sleep {mark} ")


def _wait_for(subject: Subject, machine: Instance, mark: str, count: int) -> None:
    import time

    deadline = time.monotonic() + PATIENCE
    while _count(subject, machine, mark) != count:
        assert time.monotonic() < deadline, f"not {count} processes 'sleep {mark}'"
