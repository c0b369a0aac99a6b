"""Errors as users meet them: three parts, an exit code that means something, and never a traceback."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cli_console import Console
from cli_shop import ENVUP, Shop

MISTAKES = [
    (("upp",), "unknown verb 'upp', did you mean 'up'?"),
    (("--up",), "unknown option '--up'"),
    (("up", "--recrate"), "unknown option '--recrate', did you mean '--recreate'?"),
    (("up", "--wait"), "option '--wait' needs SECONDS"),
    (("up", "--wait", "soon"), "option '--wait': 'soon' must be a number of seconds"),
    (("up", "--wait=-1"), "must be a number of seconds"),
    (("up", "--wait=nan"), "must be a number of seconds"),
    (
        ("prune", "--unused-for", "1d"),
        "option '--unused-for': '1d' is not a time with a unit, such as 500ms, 60s, 5m or 24h",
    ),
    (("prune", "--size", "5"), "option '--size': '5' is not a size with a unit"),
    (("images", "remove", "0123"), "`env prune` frees layers"),
    (("up", "--yes=no"), "option '--yes' takes no value"),
    (("up", "nosuch"), "there is no machine 'nosuch'"),
    (("up", "--provider", "nosuch"), "nosuch"),
    (("exec",), "COMMAND is missing"),
    (("exec", "web"), "COMMAND is missing"),
    (("copy", "a"), "TARGET is missing"),
    (("copy", "a", "b"), "one of SOURCE and TARGET must be in a machine"),
    (("copy", "web:a", "b"), "the path in a machine begins with /"),
    (("copy", "a", "b", "c"), "'c' is one argument too many"),
    (("images", "burn"), "ACTION is one of list, build, remove, not 'burn'"),
    (("images", "remove"), "NAME is missing"),
    (("images", "remove", "abc"), "no image in the store begins with 'abc'"),
    (("completion", "tcsh"), "SHELL is one of"),
    (("help", "nosuch"), "there is no verb 'nosuch'"),
    (("status", "nosuch"), "there is no machine 'nosuch'"),
    (("status", "--file", "/no/such/Envfile"), "no such file"),
    (("logs", "-f", "--last"), "--follow goes with neither"),
    (("-f", "up"), "unknown option '-f'"),
    (("",), "unknown verb ''"),
    (("up\n", "x"), "unknown verb"),
]


@pytest.mark.parametrize(("argv", "told"), MISTAKES, ids=[" ".join(argv) for argv, _ in MISTAKES])
def test_a_mistake_is_told_in_words_and_exits_with_2(shop: Shop, argv: tuple[str, ...], told: str) -> None:
    result = shop.run(*argv)
    assert (result.returncode, result.stdout) == (2, "")
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_a_mistake_as_json_is_one_document(shop: Shop) -> None:
    error = shop.json("up", "--recrate", code=2)
    assert error["event"] == "error"
    assert error["code"] == 2
    assert error["hint"] == "`env help up` explains it"


def test_without_a_project_the_way_to_one_is_told(shop: Shop, tmp_path: Path) -> None:
    shop.directory = tmp_path
    result = shop.run("up")
    assert result.returncode == 2
    assert "to do: `env new` writes one" in result.stderr


def test_a_failure_has_its_details_and_what_to_do(shop: Shop) -> None:
    shop.write("{name: shop, image: host, provider: pretend, hostname: refused}")
    result = shop.run("up")
    assert result.returncode == 1
    for part in ("default: creating failed: there is no room", "the shelf is full", "to do: make room"):
        assert part in result.stderr


def test_a_bug_is_told_as_one_with_a_log_and_without_a_traceback(shop: Shop) -> None:
    shop.write("{name: shop, image: host, provider: pretend, hostname: bug}")
    result = shop.run("up")
    assert result.returncode == 1
    assert "Traceback" not in result.stdout + result.stderr
    assert "this is a bug in envup: KeyError" in result.stderr
    log = re.search(r"is written in (\S+)", result.stderr)
    assert log is not None
    assert "nobody thought of this" in Path(log[1]).read_text()
    assert "Traceback" in Path(log[1]).read_text()


def test_destroy_needs_agreement(shop: Shop) -> None:
    shop.run("up")
    result = shop.run("destroy")
    assert result.returncode == 2
    assert "machine 'web' will be destroyed" in result.stderr
    assert "`--yes`" in result.stderr
    assert [machine["state"] for machine in shop.json("status")["machines"]] == ["running", "running"]


def test_destroy_of_nothing_needs_no_agreement(shop: Shop) -> None:
    assert shop.run("destroy").returncode == 0


def test_a_recreation_needs_agreement_and_recreate_gives_it(shop: Shop) -> None:
    shop.run("up")
    shop.write((shop.directory / "Envfile").read_text().replace("echo hello", "echo changed"))
    result = shop.run("up")
    assert result.returncode == 2
    assert "would be made anew" in result.stderr
    assert shop.run("up", "--yes").returncode == 0
    assert shop.run("up", "--recreate").returncode == 0


def test_a_held_lock_is_4_and_names_the_holder(shop: Shop) -> None:
    shop.write((shop.directory / "Envfile").read_text().replace("echo hello", "echo hello; sleep 60"))
    with subprocess.Popen(
        [ENVUP, "up", "--json"], cwd=shop.directory, env=shop.environment, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert any('"output"' in line for line in holder.stdout)
        result = shop.run("stop")
        assert result.returncode == 4
        assert f"`env up` (pid {holder.pid}" in result.stderr
        assert shop.json("status")["machines"][0]["state"] == "running"
        holder.send_signal(signal.SIGINT)
        lines = [json.loads(line) for line in holder.stdout]
        assert holder.wait(30) == 130
    assert (lines[-1]["event"], lines[-1]["ok"], lines[-1]["interrupted"]) == ("result", False, True)


def test_an_interrupt_while_waiting_for_the_lock_is_130(shop: Shop) -> None:
    shop.write((shop.directory / "Envfile").read_text().replace("echo hello", "echo hello; sleep 60"))
    options: dict[str, Any] = {"cwd": shop.directory, "env": shop.environment, "text": True}
    with subprocess.Popen([ENVUP, "up", "--json"], stdout=subprocess.PIPE, **options) as holder:
        assert holder.stdout is not None
        assert any('"output"' in line for line in holder.stdout)
        with subprocess.Popen([ENVUP, "stop", "--wait", "60"], stderr=subprocess.PIPE, **options) as waiter:
            assert waiter.stderr is not None
            waits = Path(f"/proc/{waiter.pid}/wchan")
            while "lock" not in waits.read_text():
                assert waiter.poll() is None
            waiter.send_signal(signal.SIGINT)
            assert waiter.wait(30) == 130
            assert waiter.stderr.read() == "envup: interrupted\n"
        holder.send_signal(signal.SIGTERM)
        holder.stdout.read()
        assert holder.wait(30) == 130


@pytest.mark.parametrize("verb", ["help", "version", "status", "list", "schema"])
def test_a_full_disk_behind_standard_output_is_an_error(shop: Shop, verb: str) -> None:
    with Path("/dev/full").open("w") as full:
        result = shop.run(verb, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert result.returncode == 1
    assert "cannot write to standard output: No space left on device" in result.stderr


def test_a_reader_that_went_away_is_no_error_to_talk_about(shop: Shop) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = shop.run("help", capture_output=False, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (result.returncode, result.stderr) == (141, "")


def test_up_goes_on_when_its_reader_went_away(shop: Shop) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = shop.run("up", capture_output=False, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (result.returncode, result.stderr) == (0, "")
    assert [machine["state"] for machine in shop.json("status")["machines"]] == ["running", "running"]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_harm_nothing(shop: Shop, closed: str) -> None:
    script = f'"$0" up {closed}; "$0" status --json'
    result = subprocess.run(
        ["sh", "-c", script, ENVUP],
        cwd=shop.directory,
        env=shop.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    last = result.stdout.splitlines()[-1]
    assert [machine["state"] for machine in json.loads(last)["machines"]] == ["running", "running"]


def test_on_a_terminal_destroy_asks_and_no_is_no(shop: Shop) -> None:
    shop.run("up")
    console = Console(shop, "destroy")
    console.until("Go on? [y/N] ")
    console.type("n\n")
    assert console.end() == 1
    assert "nothing was changed" in console.text
    console = Console(shop, "destroy")
    console.until("Go on? [y/N] ")
    console.type("y\n")
    assert console.end() == 0
    assert [machine["state"] for machine in shop.json("status")["machines"]] == ["absent", "absent"]


def test_on_a_terminal_json_never_asks(shop: Shop) -> None:
    shop.run("up")
    console = Console(shop, "destroy", "--json")
    assert console.end() == 2
    assert "Go on?" not in console.text


def test_on_a_terminal_one_line_a_machine_remains(shop: Shop) -> None:
    console = Console(shop, "up", "--no-color")
    assert console.end() == 0
    assert re.search(r"✓ web  .*provisioned app", console.text)
    assert "\x1b[3" not in console.text


def test_control_c_on_a_terminal_interrupts_and_leaves_the_terminal_sound(shop: Shop) -> None:
    shop.write((shop.directory / "Envfile").read_text().replace("echo hello", "echo hello; sleep 60"))
    console = Console(shop, "up")
    console.until("hello")
    console.type("\x03")
    assert console.end() == 130
    assert "interrupted" in console.text
    assert "Traceback" not in console.text
    assert "\x1b[?" not in console.text
    assert shop.run("destroy", "--yes").returncode == 0


def test_a_current_directory_that_was_removed_is_no_bug(shop: Shop) -> None:
    command = 'mkdir gone && cd gone && rmdir ../gone && exec "$0" "$1"'
    for verb in ("status", "list", "up"):
        done = subprocess.run(
            ["sh", "-c", command, ENVUP, verb], cwd=shop.directory, env=shop.environment, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("envup: the current directory was removed\n")
