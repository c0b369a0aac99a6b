"""Running programs in a machine: output, exit codes, standard input, limits, interrupts, secrets."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_provider import Bench

from envup.errors import InterruptedByUser, TransportError
from envup.machine import CommandFailed


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path, redact=frozenset({"hunter2-secret", "1"}))
    yield bench
    bench.close()


def sh(text: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", text)


def test_output_and_errors_reach_report_and_log_in_their_order(bench: Bench) -> None:
    bench.machine.run(sh("echo one; echo two >&2; echo three"))
    assert bench.output == "one\ntwo\nthree\n"
    assert bench.log == b"one\ntwo\nthree\n"
    assert {(event.machine, event.action) for event in bench.events} == {("web", "step")}


def test_output_comes_while_the_program_still_runs(bench: Bench, tmp_path: Path) -> None:
    fifo = tmp_path / "go"
    os.mkfifo(fifo)
    seen: list[str] = []

    def answer() -> None:
        while "ready" not in bench.output:
            time.sleep(0.005)
        seen.append(bench.output)
        fifo.write_text("go")

    thread = threading.Thread(target=answer)
    thread.start()
    bench.machine.run(sh(f"echo ready; cat {fifo} >/dev/null; echo done"))
    thread.join()
    assert seen == ["ready\n"] and bench.output == "ready\ndone\n"


def test_exit_codes_come_back_as_they_are(bench: Bench) -> None:
    assert bench.machine.run(sh("exit 7"), check=False).exit_code == 7
    assert bench.machine.run(sh("kill -9 $$"), check=False).exit_code == 137


def test_a_failure_is_an_error_with_the_last_lines_where_asked_for(bench: Bench) -> None:
    with pytest.raises(CommandFailed) as caught:
        bench.machine.run(sh("seq 100; exit 3"))
    assert caught.value.result.exit_code == 3
    assert caught.value.details.splitlines() == [str(number) for number in range(81, 101)]


def test_code_125_says_that_the_machine_was_not_reached(bench: Bench) -> None:
    with pytest.raises(TransportError) as caught:
        bench.machine.run(sh("echo no way in >&2; exit 125"), check=False)
    assert "no way in" in caught.value.details


def test_fifty_megabytes_of_output_arrive_whole_in_the_log(bench: Bench) -> None:
    result = bench.machine.run(sh("head -c 52428800 /dev/zero | tr '\\0' x; echo; echo end"))
    assert bench.log_path.stat().st_size == 52428800 + 5
    assert result.tail[-1] == "end"


def test_large_standard_input_does_not_deadlock_with_large_output(bench: Bench) -> None:
    data = b"line of input\n" * 400_000
    bench.machine.run(("cat",), stdin=data)
    assert bench.log == data


def test_standard_input_that_nobody_reads_does_not_matter(bench: Bench) -> None:
    assert bench.machine.run(("true",), stdin=b"x" * 1_000_000).exit_code == 0


def test_standard_input_is_empty_by_default(bench: Bench) -> None:
    assert bench.machine.run(sh("wc -c")).tail == ("0",)


def test_a_file_is_given_as_standard_input_as_it_is(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("from a file")
    with (tmp_path / "in").open("rb") as file:
        assert bench.machine.run(("cat",), stdin=file).tail == ("from a file",)


def test_arguments_arrive_verbatim(bench: Bench) -> None:
    words = ["", " ", "'\"", "a\nb", "ü", "$HOME", "*"]
    bench.machine.run((sys.executable, "-c", "import sys; print(sys.argv[1:])", *words))
    assert bench.output == f"{words}\n"


def test_user_workdir_and_environment_are_asked_of_the_provider(bench: Bench, tmp_path: Path) -> None:
    bench.machine.run(sh("pwd; echo $DEBUG"), user="app:web", workdir=str(tmp_path), environment={"DEBUG": "on"})
    assert bench.provider.commands[-1].user == "app:web"
    assert bench.output == f"{tmp_path}\non\n"


def test_the_machines_user_is_the_default(tmp_path: Path) -> None:
    bench = Bench(tmp_path, user="app")
    bench.machine.run(("true",))
    bench.close()
    assert bench.provider.commands[-1].user == "app"


def test_secrets_reach_neither_log_nor_report_nor_errors(bench: Bench) -> None:
    with pytest.raises(CommandFailed) as caught:
        bench.machine.run(sh("printf hunter; sleep 0.1; echo 2-secret; echo 12; exit 1"))
    assert bench.output == "***\n12\n"
    assert bench.log == b"***\n12\n"
    assert "hunter" not in caught.value.details


def test_characters_split_between_reads_are_put_together(bench: Bench) -> None:
    bench.machine.run(sh(r"printf '\303'; sleep 0.05; printf '\274'; printf '\377'"))
    assert bench.output == "ü�"


def test_a_quiet_program_leaves_no_trace_but_its_result(bench: Bench) -> None:
    assert bench.machine.run(sh("echo hidden"), quiet=True).tail == ("hidden",)
    assert not bench.events and not bench.log


def test_a_daemon_that_holds_the_output_does_not_hold_up_the_step(bench: Bench, tmp_path: Path) -> None:
    begin = time.monotonic()
    bench.machine.run(sh(f"echo started; (sleep 30; true) & echo $! > {tmp_path}/pid"))
    assert time.monotonic() - begin < 5
    assert "started\n" in bench.output
    assert any("holds its output" in text for text in bench.texts("warning"))
    os.kill(int((tmp_path / "pid").read_text()), 9)


def test_a_program_that_runs_too_long_is_ended_with_its_children(bench: Bench, tmp_path: Path) -> None:
    begin = time.monotonic()
    result = bench.machine.run(sh(f"sleep 60 & echo $! > {tmp_path}/pid; wait"), check=False, timeout=0.3)
    assert result.exit_code == 124
    assert time.monotonic() - begin < 5
    pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        for _ in range(200):
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
                raise ProcessLookupError
            time.sleep(0.01)


def test_a_chatty_program_runs_out_of_time_as_well(bench: Bench) -> None:
    begin = time.monotonic()
    assert bench.machine.run(("yes",), check=False, timeout=0.2, quiet=True).exit_code == 124
    assert time.monotonic() - begin < 5


def test_terminate_from_another_thread_ends_the_program(bench: Bench) -> None:
    timer = threading.Timer(0.2, bench.machine.terminate)
    timer.start()
    begin = time.monotonic()
    with pytest.raises(InterruptedByUser):
        bench.machine.run(("sleep", "60"), check=False)
    timer.join()
    assert time.monotonic() - begin < 5
    with pytest.raises(InterruptedByUser):
        bench.machine.run(("true",))


def test_no_descriptor_is_left_open(bench: Bench) -> None:
    bench.machine.run(("true",))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        bench.machine.run(("true",), stdin=b"x")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_program_of_the_host_is_told_as_one_of_the_machine(bench: Bench, tmp_path: Path) -> None:
    line = sh('echo "$(pwd) $OF_STEP hunter2-secret"; cat; echo late >&2; exit 125')
    result = bench.machine.local(line, directory=tmp_path, environment={"OF_STEP": "here"})
    assert (result.exit_code, result.tail) == (125, (f"{tmp_path} here ***", "late"))
    assert bench.output == bench.log.decode() == f"{tmp_path} here ***\nlate\n"
    assert bench.provider.commands == []


def test_a_program_of_the_host_ends_with_the_machine(bench: Bench) -> None:
    threading.Thread(target=lambda: (wait_for(bench, "up"), bench.machine.terminate())).start()
    with pytest.raises(InterruptedByUser):
        bench.machine.local(sh("echo up; sleep 1000"))


def test_a_program_of_the_host_ends_when_envup_is_killed(bench: Bench, tmp_path: Path) -> None:
    envup = os.fork()
    if envup == 0:
        bench.machine.local(sh(f"echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; exec sleep 1000"))
        os._exit(0)
    while not (tmp_path / "pid").exists():
        time.sleep(0.005)
    program = os.pidfd_open(int((tmp_path / "pid").read_text()))
    os.kill(envup, signal.SIGKILL)
    os.waitpid(envup, 0)
    assert select.select([program], [], [], 10)[0]
    os.close(program)


def test_a_program_of_the_host_that_is_not_there_is_told(bench: Bench) -> None:
    with pytest.raises(TransportError, match="no-such-program"):
        bench.machine.local(("no-such-program",))


def wait_for(bench: Bench, text: str) -> None:
    while text not in bench.output:
        time.sleep(0.005)
