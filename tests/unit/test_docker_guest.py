"""The scripts that run inside containers, run here by every shell of this host that a container may have."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from envup_docker import guest

SHELLS = [[path] for name in ("dash", "bash") if (path := shutil.which(name))]
SHELLS += [[path, "sh"] for path in [shutil.which("busybox")] if path]

pytestmark = pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: Path(shell[0]).name)


def enter(
    shell: list[str],
    *argv: str,
    workdir: str = "/",
    variables: Mapping[bytes, bytes] | None = None,
    environment: Mapping[str, str] | None = None,
    data: bytes = b"",
) -> subprocess.CompletedProcess[bytes]:
    """What the program prints after the opening."""
    texts = [argument if guest.is_text(argument) else "" for argument in argv]
    line = [*shell, "-c", guest.ENTER, "envup", "root", workdir, *texts]
    told = guest.told(argv, variables or {})
    done = subprocess.run(line, input=told + data, capture_output=True, env=environment or {}, timeout=60)
    number, mark, output = done.stdout.split(b"\n", 2)
    assert number.isdigit()
    assert mark == b"="
    return subprocess.CompletedProcess(argv, done.returncode, output, done.stderr)


@pytest.mark.parametrize("argument", ["", "a b", "it's\n", "ü$(id)", "\udcff\udcfe", "\udc81\n\n", "%s\\n\udcff", "*"])
def test_arguments_arrive_verbatim(shell: list[str], argument: str) -> None:
    done = enter(shell, "printf", "[%s]", "first", argument, "last")
    assert done.stdout == b"[first][" + os.fsencode(argument) + b"][last]"


def test_values_that_are_no_text_arrive(shell: list[str]) -> None:
    done = enter(shell, "sh", "-c", 'printf %s "$ODD"', variables={b"ODD": b"\xff 'x'\n\n"})
    assert done.stdout == b"\xff 'x'\n\n"


def test_what_is_told_fits_a_terminal_line(shell: list[str]) -> None:
    told = guest.told(["\udcff" * 3000], {})
    assert max(map(len, told.splitlines())) < 4095
    assert enter(shell, "printf", "%s", "\udcff" * 3000).stdout == b"\xff" * 3000


def test_standard_input_after_the_opening_is_the_programs(shell: list[str]) -> None:
    assert enter(shell, "cat", data=b".\n:more\n").stdout == b".\n:more\n"


def test_nothing_runs_when_nobody_tells_it_to(shell: list[str], tmp_path: Path) -> None:
    line = [*shell, "-c", guest.ENTER, "envup", "root", "/", "touch", str(tmp_path / "made")]
    done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert done.returncode == 125
    assert not (tmp_path / "made").exists()


def test_the_users_entry_fills_what_is_not_set(shell: list[str]) -> None:
    script = 'echo "$HOME $USER $LOGNAME $LANG"; umask; pwd'
    assert enter(shell, "sh", "-c", script).stdout == b"/root root root C.UTF-8\n0022\n/\n"
    given = {"HOME": "/tmp", "USER": "u", "LOGNAME": "l", "LANG": "de", "SHELL": "/bin/x", "PATH": os.environ["PATH"]}
    done = enter(shell, "sh", "-c", 'echo "$HOME $USER $LOGNAME $LANG $SHELL"', environment=given)
    assert done.stdout == b"/tmp u l de /bin/x\n"


def test_nothing_of_the_script_is_left_in_the_environment(shell: list[str]) -> None:
    names = {line.partition(b"=")[0] for line in enter(shell, "env").stdout.splitlines()}
    assert names - {b"SHLVL", b"_"} <= {b"HOME", b"USER", b"LOGNAME", b"LANG", b"SHELL", b"PATH", b"PWD"}


@pytest.mark.parametrize("program", ["", "no-such\\nprogram", "/no/such", "/etc/passwd/x", "-x", "no/such"])
def test_a_program_that_is_missing_is_told_by_its_name_alone(shell: list[str], program: str) -> None:
    done = enter(shell, program)
    assert (done.returncode, done.stderr.decode()) == (127, f"envup: {program}: not found\n")


@pytest.mark.parametrize("program", ["/etc", "/etc/passwd", "etc/passwd"])
def test_what_may_not_be_executed_is_told_by_its_name_alone(shell: list[str], program: str) -> None:
    done = enter(shell, program)
    assert (done.returncode, done.stderr.decode()) == (126, f"envup: {program}: Permission denied\n")


def test_a_program_is_looked_for_in_each_directory_of_the_path(shell: list[str], tmp_path: Path) -> None:
    closed, opened = tmp_path / "closed", tmp_path / "a b*"
    for directory, mode in ((closed, 0o644), (opened, 0o755)):
        directory.mkdir()
        (directory / "-own").write_text("#!/bin/sh\necho found\n")
        (directory / "-own").chmod(mode)
    done = enter(shell, "-own", environment={"PATH": f"/no/such::{closed}:{opened}:{os.environ['PATH']}"})
    assert done.stdout == b"found\n"
    done = enter(shell, "-own", environment={"PATH": f"{closed}:/no/such"})
    assert (done.returncode, done.stderr) == (126, b"envup: -own: Permission denied\n")


def test_programs_within_a_busybox_need_no_files(shell: list[str]) -> None:
    """Where the shell is one that has them; `cat` is no builtin of any."""
    asked = subprocess.run([*shell, "-c", "command -v env"], capture_output=True, env={"PATH": "/nowhere"}, timeout=60)
    done = enter(shell, "cat", environment={"PATH": "/nowhere"}, data=b"through")
    inside = asked.stdout == b"env\n"
    assert (done.returncode, done.stdout) == ((0, b"through") if inside else (127, b""))
    assert inside or done.stderr == b"envup: cat: not found\n"


def test_a_program_below_a_closed_directory_may_not_be_executed(shell: list[str], tmp_path: Path) -> None:
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == os.getuid() and "pytest" in str(directory):
            directory.chmod(0o755)
    (tmp_path / "closed").mkdir(mode=0o700)
    program = f"{tmp_path}/closed/below/it"
    line = [*shell, "-c", guest.ENTER, "envup", "1234", "/", program]
    user = {"user": 1234, "group": 1234, "extra_groups": []}
    told = guest.told([program], {})
    done = subprocess.run(line, input=told, capture_output=True, env={}, timeout=60, **user)  # type: ignore[call-overload]
    assert (done.returncode, done.stderr.decode()) == (126, f"envup: {program}: Permission denied\n")


def test_a_working_directory_that_cannot_be_entered_is_named(shell: list[str]) -> None:
    for path, reason in (("/not/there", b"No such file"), ("/etc/passwd", b"Not a directory")):
        done = enter(shell, "true", workdir=path)
        assert done.returncode == 126
        assert path.encode() in done.stderr
        assert reason in done.stderr


def test_no_arguments_give_a_shell(shell: list[str]) -> None:
    assert enter(shell, data=b"exit 3\n").returncode == 3


def send(shell: list[str], group: int, name: str, twentieths: int) -> int:
    line = [*shell, "-c", guest.SIGNAL, "envup", str(group), name, str(twentieths)]
    return subprocess.run(line, timeout=60).returncode


def test_a_signal_reaches_the_group(shell: list[str]) -> None:
    with subprocess.Popen(["sh", "-c", "sleep 60 & sleep 60; true"], start_new_session=True) as process:
        assert send(shell, process.pid, "TERM", 100) == 0
        assert process.wait(60) == -signal.SIGTERM


def test_what_ignores_a_signal_is_killed_when_its_time_is_up(shell: list[str]) -> None:
    script = "trap '' TERM; echo ready; while :; do sleep 60; done"
    with subprocess.Popen(["sh", "-c", script], start_new_session=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert send(shell, process.pid, "TERM", 4) == 0
        assert process.wait(60) == -signal.SIGKILL


def test_a_group_that_is_gone_is_no_error(shell: list[str]) -> None:
    with subprocess.Popen(["true"], start_new_session=True) as process:
        process.wait(60)
    assert send(shell, process.pid, "INT", 0) == 0
