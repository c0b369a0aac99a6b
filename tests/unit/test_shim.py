"""The shim is the system's env(1) for everything but envup's own verbs."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from envup import shim
from envup.cli import table

SCRIPTS = Path(sys.executable).parent
ENV = SCRIPTS / "env"
STOCK = ("/usr/bin", "/usr/sbin", "/bin", "/sbin")


def run(*argv: str, env: dict[str, str] | None = None, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([ENV, *argv], env=env, input=stdin, capture_output=True, check=False, timeout=60)


def system(*argv: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    call = ["env", *argv]
    return subprocess.run(
        call, executable="/usr/bin/env", env=env, input=b"", capture_output=True, check=False, timeout=60
    )


def test_no_verb_is_the_name_of_a_program_on_a_stock_path() -> None:
    programs = {entry.name for directory in STOCK for entry in Path(directory).iterdir()}
    assert "ls" in programs
    assert shim.VERBS & (programs - {"trust"}) == set()


def test_no_verb_is_the_name_of_a_program_that_stops_or_enters_hosts() -> None:
    dangerous = {"halt", "poweroff", "reboot", "shutdown", "init", "ssh", "kill", "run", "mount", "start", "install"}
    assert shim.VERBS & dangerous == set()


def test_the_shim_and_the_command_line_know_the_same_verbs() -> None:
    assert set(table.VERBS) == shim.VERBS


@pytest.mark.parametrize(
    "argv",
    [
        ("up=1", "printenv", "up"),
        ("--", "up"),
        ("-i",),
        ("-i", "A=b c", "/usr/bin/env"),
        ("FOO=1", "printenv", "FOO"),
        (),
        ("-u", "HOME", "/usr/bin/env"),
        ("/bin/echo", "", "a  b", "it's", "new\nline", "é"),
        ("no-such-program",),
        ("--no-such-option",),
        ("sh", "-c", "exit 7"),
        ("-S", "echo one two"),
        ("updates",),
    ],
)
def test_what_is_no_verb_behaves_as_the_systems_env(argv: tuple[str, ...]) -> None:
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/", "B": "2", "A": "1"}
    ours, real = run(*argv, env=environment), system(*argv, env=environment)
    assert (ours.returncode, ours.stdout, ours.stderr) == (real.returncode, real.stdout, real.stderr)


def test_a_name_that_is_no_utf8_arrives_as_it_was() -> None:
    result = subprocess.run([ENV, b"printf", b"%s", b"\xff\xfe"], capture_output=True, check=True)
    assert result.stdout == b"\xff\xfe"


def test_standard_input_reaches_the_program() -> None:
    assert run("cat", stdin=b"\0binary\xff").stdout == b"\0binary\xff"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"LC_CTYPE": "C.UTF-8"},
        {"LC_CTYPE": "C", "LANG": "C"},
        {"LC_CTYPE": ""},
        {"LC_ALL": "C"},
        {"LC_ALL": "", "LANG": "C"},
        {"LANG": "C.UTF-8"},
        {"LC_CTYPE": "POSIX", "LC_ALL": ""},
    ],
)
def test_the_locale_of_the_caller_arrives_unchanged(environment: dict[str, str]) -> None:
    assert run("/usr/bin/env", env=environment).stdout == system("/usr/bin/env", env=environment).stdout


def test_without_proc_a_coerced_locale_is_told_by_utf8_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shim, "_started_with", lambda: None)
    monkeypatch.setattr(os, "environ", {"LC_CTYPE": "C.UTF-8"})
    expected = {} if sys.flags.utf8_mode else {"LC_CTYPE": "C.UTF-8"}
    assert shim.original_environment() == expected


def test_signals_that_python_ignores_are_given_back() -> None:
    ignored = run("grep", "SigIgn", "/proc/self/status").stdout.split()[-1]
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        assert not int(ignored, 16) >> (number - 1) & 1


def test_a_program_that_writes_to_a_closed_pipe_is_killed_by_sigpipe() -> None:
    process = subprocess.Popen([ENV, "yes"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read(2)
    process.stdout.close()
    assert process.wait(60) == -signal.SIGPIPE


def test_the_program_replaces_the_shim_and_keeps_its_pid() -> None:
    process = subprocess.Popen([ENV, "sh", "-c", "echo $$"], stdout=subprocess.PIPE)
    output, _ = process.communicate(timeout=60)
    assert int(output) == process.pid


def test_the_name_of_the_program_stays_env() -> None:
    assert run("no-such-program").stderr.startswith(b"env: ")


def test_a_terminal_stays_a_terminal() -> None:
    parent, child = pty.openpty()
    try:
        result = subprocess.run([ENV, "test", "-t", "0"], stdin=child, check=False, timeout=60)
    finally:
        os.close(parent)
        os.close(child)
    assert result.returncode == 0


def test_an_env_that_is_the_shim_itself_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "env"
    script.symlink_to("/usr/bin/env")
    called: list[str] = []
    monkeypatch.setattr(shim, "SYSTEM_ENV", ("/usr/bin/env", str(tmp_path / "other")))
    monkeypatch.setattr(shim, "give_back_signals", lambda: None)
    monkeypatch.setattr(os, "execve", lambda path, argv, environment: called.append(path))
    (tmp_path / "other").write_text("")
    shim.go_on([str(script), "true"])
    assert called == [str(tmp_path / "other")]


def test_a_system_without_env_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(shim, "SYSTEM_ENV", ("/no/such/env",))
    monkeypatch.setattr(shim, "give_back_signals", lambda: None)
    assert shim.go_on(["env", "true"]) == 127
    assert "no env(1) of the system" in capsys.readouterr().err


def test_called_as_envup_every_word_is_ours() -> None:
    result = subprocess.run([SCRIPTS / "envup", "FOO=1", "true"], capture_output=True, check=False, text=True)
    assert result.returncode == 2
    assert "unknown verb 'FOO=1'" in result.stderr


def test_deciding_imports_nothing_beyond_os_and_sys() -> None:
    code = (
        "import os, sys\n"
        "before = set(sys.modules)\n"
        "os.execve = lambda *call: print(sorted(set(sys.modules) - before))\n"
        "import envup.shim as shim\n"
        "shim.give_back_signals = lambda: None\n"
        "sys.argv = ['env', 'true']\n"
        "shim.main()\n"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert set(eval(output.splitlines()[0])) <= {"envup", "envup.shim", "__future__"}
