"""The keeper of LXC machines and their network, with plain programs for machines: what lives and dies together, what is
reached and what is not. As root, and as an account with subordinate ids."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from envup.errors import EnvupError
from envup.namespaces import records
from envup.provider import Port, ProviderContext
from envup_lxc.client import Keeper, Launched

LOCAL = "127.0.0.1"
MARK = "ENVUP_TEST_MARK"
ONE, OTHER = "1" * 32, "2" * 32
MACHINE = Path(__file__).with_name("plain_machine.py")


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProviderContext]:
    """A provider's directories. Keepers that are left are killed."""
    for name in ("data", "run"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv(MARK, str(tmp_path))
    yield ProviderContext(tmp_path / "data", tmp_path / "run", lambda _event: None)
    _kill_keepers()


def _ours() -> dict[int, str]:
    """Living processes that were started by this test, and the names of their programs."""
    mark = f"{MARK}={os.environ[MARK]}".encode()
    names = {}
    for process in (int(each) for each in os.listdir("/proc") if each.isdigit()):
        with contextlib.suppress(OSError):
            if mark in Path(f"/proc/{process}/environ").read_bytes().split(b"\0") and process != os.getpid():
                names[process] = Path(f"/proc/{process}/comm").read_text().strip()
    return names


def _kill_keepers() -> None:
    for process, name in _ours().items():
        if name == "envup-keeper":
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def _soon(holds: Callable[[], bool], what: str) -> None:
    """What other processes do after their parent's end has no event that a stranger could wait for."""
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def _gone(pid: int) -> None:
    """Wait for the end of a process."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            assert select.select([descriptor], [], [], 10)[0], f"process {pid} still lives"
        finally:
            os.close(descriptor)


def _launch(keeper: Keeper, name: str, last: int = 15) -> Launched:
    """A machine that serves; see `plain_machine`."""
    reader, writer = os.pipe()
    try:
        line = [sys.executable, str(MACHINE), str(last)]
        launched = keeper.launch(name, line, {"PATH": os.environ["PATH"]}, {1: writer, 2: 2})
    finally:
        os.close(writer)
    with open(reader) as said:
        assert said.readline() == "ready\n"
    return launched


def _sleeper(keeper: Keeper, name: str) -> Launched:
    return keeper.launch(name, ["/bin/sleep", "1000"], {}, {})


def _ask(port: int, text: str) -> str:
    with socket.create_connection((LOCAL, port), timeout=10) as asking:
        asking.sendall(text.encode())
        asking.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: asking.recv(100), b"")).decode()


def _end(context: ProviderContext, launched: Launched, name: str = "web", environment: str = ONE) -> None:
    os.kill(launched.pid, signal.SIGKILL)
    with Keeper.ending(context.runtime, environment, name):
        pass


def test_a_settled_machine_lives_on_and_the_keeper_leaves_with_the_last(context: ProviderContext) -> None:
    with Keeper.reach(context.runtime, ONE) as keeper:
        web, db = _sleeper(keeper, "web"), _sleeper(keeper, "db")
        web.settle()
        db.settle()
    assert records.start_time(web.pid) == web.start
    assert records.start_time(keeper.pid) == keeper.start
    _end(context, web)
    assert records.start_time(keeper.pid) == keeper.start
    _end(context, db, "db")
    assert records.start_time(keeper.pid) is None
    assert not list(context.runtime.iterdir())


def test_nothing_of_the_network_is_left_when_the_last_machine_has_ended(context: ProviderContext) -> None:
    links = _links()
    with Keeper.reach(context.runtime, ONE) as keeper:
        web = _launch(keeper, "web")
        web.settle()
    assert sorted(_ours().values()) == ["envup-keeper", "envup-slirp", "slirp4netns"]
    assert _links() == links, "the host's network was changed"
    _end(context, web)
    assert not _ours()


def _links() -> set[str]:
    """What the host has of those interfaces that a keeper and a machine make."""
    return {link for link in os.listdir("/sys/class/net") if link in ("br0", "tap0") or link.startswith("outer")}


def test_a_machine_that_was_not_settled_ends_with_its_command(context: ProviderContext) -> None:
    with Keeper.reach(context.runtime, ONE) as keeper:
        web = _sleeper(keeper, "web")
    _gone(web.pid)
    _gone(keeper.pid)


def test_a_killed_command_leaves_nothing(context: ProviderContext, tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from envup.provider import ProviderContext\n"
        "from envup_lxc.client import Keeper\n"
        f"context = ProviderContext(Path({str(context.data)!r}), Path({str(context.runtime)!r}), print)\n"
        f"with Keeper.reach(context.runtime, {ONE!r}) as keeper:\n"
        "    web = keeper.launch('web', ['/bin/sleep', '1000'], {}, {})\n"
        "    print(keeper.pid, web.pid, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    line = [sys.executable, "-c", script]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as command:
        assert command.stdout is not None
        pids = [int(each) for each in command.stdout.readline().split()]
        command.kill()
        for pid in pids:
            _gone(pid)


@pytest.mark.parametrize("moment", [0.0, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.06])
def test_a_keeper_killed_at_any_moment_leaves_nothing(context: ProviderContext, moment: float) -> None:
    links = _links()
    launched: list[Launched] = []

    def command() -> None:
        with contextlib.suppress(EnvupError), Keeper.reach(context.runtime, ONE) as keeper:
            launched.append(_sleeper(keeper, "web"))
            launched[0].settle()

    thread = threading.Thread(target=command)
    thread.start()
    time.sleep(moment)
    _kill_keepers()
    thread.join(20)
    assert not thread.is_alive(), "the command waits for a keeper that is dead"
    _kill_keepers()
    for each in launched:
        _gone(each.pid)
    _soon(lambda: not _ours(), f"left: {_ours()}")
    assert _links() == links


def test_a_killed_keeper_takes_its_machines_along_and_the_next_command_starts_another(
    context: ProviderContext,
) -> None:
    with Keeper.reach(context.runtime, ONE) as keeper:
        web = _launch(keeper, "web")
        web.settle()
    os.kill(keeper.pid, signal.SIGKILL)
    _gone(web.pid)
    with Keeper.reach(context.runtime, ONE) as another:
        assert another.pid != keeper.pid
        _end(context, _launch(another, "web"))


def test_a_command_whose_keeper_dies_is_told(context: ProviderContext) -> None:
    with Keeper.reach(context.runtime, ONE) as keeper:
        os.kill(keeper.pid, signal.SIGKILL)
        with pytest.raises(EnvupError, match="the process that keeps the network of the environment's machines ended"):
            _sleeper(keeper, "web")


def test_commands_at_the_same_time_share_one_keeper(context: ProviderContext) -> None:
    found: list[int] = []
    all_there = threading.Barrier(8)

    def command(name: str) -> None:
        with Keeper.reach(context.runtime, ONE) as keeper:
            _sleeper(keeper, name)
            found.append(keeper.pid)
            all_there.wait(20)

    threads = [threading.Thread(target=command, args=(f"m{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_a_keeper_comes_and_goes_while_others_connect(context: ProviderContext) -> None:
    """Leaving and coming at the same time loses nobody."""

    def command(name: str) -> None:
        for _time in range(15):
            with Keeper.reach(context.runtime, ONE, network="host") as keeper:
                launched = _sleeper(keeper, name)
                assert records.start_time(launched.pid) == launched.start
                told.append(name)

    told: list[str] = []
    threads = [threading.Thread(target=command, args=(f"m{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 45


def test_the_same_machine_starts_again_as_soon_as_its_last_life_is_over(context: ProviderContext) -> None:
    with Keeper.reach(context.runtime, ONE) as keeper:
        first = _sleeper(keeper, "web")
        os.kill(first.pid, signal.SIGKILL)
        second = _sleeper(keeper, "web")
        assert records.start_time(first.pid) is None
        assert records.start_time(second.pid) == second.start


@pytest.mark.slow
def test_a_machine_that_runs_is_not_launched_twice(context: ProviderContext) -> None:
    with (
        Keeper.reach(context.runtime, ONE, network="host") as keeper,
        Keeper.reach(context.runtime, ONE, network="host") as other,
    ):
        web = _sleeper(keeper, "web")
        with pytest.raises(EnvupError, match="machine 'web' runs already"):
            _sleeper(other, "web")
        assert records.start_time(web.pid) == web.start


def test_forwards_of_a_machines_last_life_end_before_those_of_the_next_begin(context: ProviderContext) -> None:
    with Keeper.reach(context.runtime, ONE) as keeper:
        (port,) = keeper.forward("web", "10.0.2.15", [Port(7, 0, LOCAL)])
        first = _launch(keeper, "web")
        os.kill(first.pid, signal.SIGKILL)
        assert keeper.forward("web", "10.0.2.15", [port]) == (port,)
        _launch(keeper, "web")
        assert _ask(port.host_port, "hello") == "hello"


def test_a_keeper_of_another_version_says_so(context: ProviderContext) -> None:
    with Keeper.reach(context.runtime, ONE, network="host") as keeper:
        with pytest.raises(EnvupError, match="another version of envup"):
            keeper.ask("fly")
        _sleeper(keeper, "web")


def test_a_machine_that_has_ended_cannot_be_settled(context: ProviderContext) -> None:
    with Keeper.reach(context.runtime, ONE) as keeper:
        launched = keeper.launch("web", ["/bin/true"], {}, {})
        _gone(launched.pid)
        with pytest.raises(EnvupError, match="machine 'web' has ended"):
            launched.settle()


def test_a_program_gets_its_descriptors_and_no_other(context: ProviderContext) -> None:
    shown = "ls /proc/self/fd; cat <&5; env; grep SigIgn /proc/self/status"
    content, output = os.pipe(), os.pipe()
    os.write(content[1], b"content\n")
    os.close(content[1])
    with Keeper.reach(context.runtime, ONE, network="host") as keeper:
        keeper.launch("web", ["/bin/sh", "-c", shown], {"A": "b"}, {1: output[1], 5: content[0]})
        os.close(output[1])
        os.close(content[0])
        with open(output[0]) as said:
            lines = said.read().split()
    assert lines[:5] == ["0", "1", "2", "3", "5"]  # 3 is the directory that ls reads
    assert "content" in lines
    assert "A=b" in lines
    assert not int(lines[-1], 16) & 1 << signal.SIGPIPE - 1, "it starts with a signal ignored"
    assert not [line for line in lines if line.startswith("HOME=")]


def test_a_program_that_cannot_be_run_says_so(context: ProviderContext) -> None:
    reader, writer = os.pipe()
    with Keeper.reach(context.runtime, ONE, network="host") as keeper:
        keeper.launch("web", ["/no/such/program"], {}, {2: writer})
        os.close(writer)
        with open(reader) as said:
            assert said.read() == "/no/such/program: No such file or directory\n"


def test_a_machine_is_reached_by_forwarded_ports_as_long_as_it_runs(context: ProviderContext) -> None:
    with Keeper.reach(context.runtime, ONE) as keeper:
        ports = keeper.forward("web", "10.0.2.15", [Port(7, 0, LOCAL), Port(7, 0, None, "udp")])
        web = _launch(keeper, "web")
        web.settle()
    assert _ask(ports[0].host_port, "hello") == "hello"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(10)
        asking.sendto(b"hello", (LOCAL, ports[1].host_port))
        assert asking.recv(100) == b"hello"
    _end(context, web)
    with pytest.raises(ConnectionRefusedError):
        _ask(ports[0].host_port, "hello")


def test_forwards_of_a_command_that_launched_nothing_end_with_it(context: ProviderContext) -> None:
    with Keeper.reach(context.runtime, ONE) as keeper, Keeper.reach(context.runtime, ONE):
        with Keeper.reach(context.runtime, ONE) as passing:
            (port,) = passing.forward("web", "10.0.2.15", [Port(7, 0, LOCAL)])
        keeper.ask("hello")
        with pytest.raises(ConnectionRefusedError):
            _ask(port.host_port, "hello")


def test_a_taken_port_is_refused_and_the_others_are_not_kept(context: ProviderContext) -> None:
    with socket.create_server((LOCAL, 0)) as taken, Keeper.reach(context.runtime, ONE) as keeper:
        with socket.create_server((LOCAL, 0)) as unused:
            free = unused.getsockname()[1]
        ports = [Port(7, free, LOCAL), Port(8, taken.getsockname()[1], LOCAL)]
        with pytest.raises(EnvupError, match="it is taken"):
            keeper.forward("web", "10.0.2.15", ports)
        with pytest.raises(ConnectionRefusedError):
            _ask(free, "hello")


@contextlib.contextmanager
def _unprivileged() -> Iterator[None]:
    """Root without its capabilities for a while."""
    own = os.geteuid()
    os.seteuid(own or 65534)
    try:
        yield
    finally:
        os.seteuid(own)


def test_a_low_port_is_refused_with_the_remedy(context: ProviderContext) -> None:
    with (
        Keeper.reach(context.runtime, ONE) as keeper,
        _unprivileged(),
        pytest.raises(EnvupError, match=r"ports below 1024 are root's") as raised,
    ):
        keeper.forward("web", "10.0.2.15", [Port(7, 80, LOCAL)])
    assert "net.ipv4.ip_unprivileged_port_start=80" in raised.value.hint


def test_machines_of_an_environment_reach_each_other_and_those_of_another_do_not(context: ProviderContext) -> None:
    with Keeper.reach(context.runtime, ONE) as keeper, Keeper.reach(context.runtime, OTHER) as elsewhere:
        (port,) = keeper.forward("web", "10.0.2.15", [Port(8, 0, LOCAL)])
        (far,) = elsewhere.forward("web", "10.0.2.15", [Port(8, 0, LOCAL)])
        _launch(keeper, "web", 15)
        _launch(keeper, "db", 16)
        _launch(elsewhere, "web", 15)
        assert _ask(port.host_port, "10.0.2.16 7 hello\n") == "hello"
        assert _ask(far.host_port, "10.0.2.16 7 hello\n") in ("OSError", "TimeoutError")


@pytest.mark.parametrize("allowed", [False, True])
def test_the_hosts_loopback_is_out_of_reach_unless_it_is_asked_for(context: ProviderContext, allowed: bool) -> None:
    with (
        socket.create_server((LOCAL, 0)) as service,
        Keeper.reach(context.runtime, ONE, host_loopback=allowed) as keeper,
    ):
        (port,) = keeper.forward("web", "10.0.2.15", [Port(8, 0, LOCAL)])
        _launch(keeper, "web").settle()
        answering = threading.Thread(target=_answer, args=(service,), daemon=True)
        answering.start()
        said = _ask(port.host_port, f"10.0.2.2 {service.getsockname()[1]} hello\n")
        assert (said == "secret") == allowed, said


def _answer(service: socket.socket) -> None:
    with contextlib.suppress(OSError):
        accepted, _peer = service.accept()
        with accepted:
            accepted.sendall(b"secret")


def test_a_keeper_with_another_reach_is_told(context: ProviderContext) -> None:
    with Keeper.reach(context.runtime, ONE), pytest.raises(EnvupError, match=r"host_loopback false.*asks for true"):  # noqa: SIM117
        with Keeper.reach(context.runtime, ONE, host_loopback=True):
            pass


def test_the_way_out_opens_again_when_slirp4netns_was_killed(context: ProviderContext) -> None:
    with socket.create_server((LOCAL, 0)) as service, Keeper.reach(context.runtime, ONE, host_loopback=True) as keeper:
        (port,) = keeper.forward("web", "10.0.2.15", [Port(8, 0, LOCAL)])
        _launch(keeper, "web").settle()
        (slirp,) = (each for each, name in _ours().items() if name == "slirp4netns")
        os.kill(slirp, signal.SIGKILL)
        threading.Thread(target=_answer, args=(service,), daemon=True).start()
        ask = f"10.0.2.2 {service.getsockname()[1]} hello\n"
        _soon(lambda: _ask(port.host_port, ask) == "secret", "the way out stays closed")


def test_a_command_that_comes_while_the_last_machine_ends_has_a_way_out(context: ProviderContext) -> None:
    with socket.create_server((LOCAL, 0)) as service:
        with Keeper.reach(context.runtime, ONE, host_loopback=True) as keeper:
            web = _launch(keeper, "web")
            web.settle()
        with Keeper.ending(context.runtime, ONE, "web"):
            _soon(lambda: "slirp4netns" not in _ours().values(), "slirp4netns runs for nobody")
            with Keeper.reach(context.runtime, ONE, host_loopback=True) as another:
                (port,) = another.forward("db", "10.0.2.16", [Port(8, 0, LOCAL)])
                _launch(another, "db", 16).settle()
            os.kill(web.pid, signal.SIGKILL)
        threading.Thread(target=_answer, args=(service,), daemon=True).start()
        assert _ask(port.host_port, f"10.0.2.2 {service.getsockname()[1]} hello\n") == "secret"


def test_a_machine_whose_end_nobody_waits_for_any_more_keeps_its_way_out(context: ProviderContext) -> None:
    with Keeper.reach(context.runtime, ONE) as keeper:
        _sleeper(keeper, "web").settle()
    with pytest.raises(InterruptedError), Keeper.ending(context.runtime, ONE, "web"):
        _soon(lambda: "slirp4netns" not in _ours().values(), "slirp4netns runs for nobody")
        raise InterruptedError
    _soon(lambda: "slirp4netns" in _ours().values(), "the way out stays closed")


def test_without_slirp4netns_no_machine_starts_and_the_reason_is_told(
    context: ProviderContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("newuidmap", "newgidmap"):
        (tools / name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(tools))
    with Keeper.reach(context.runtime, ONE) as keeper:
        launched = _sleeper(keeper, "web")
        with pytest.raises(EnvupError, match="slirp4netns, which takes the machines' network out, does not run"):
            launched.settle()


def test_a_large_environment_and_many_arguments_arrive(context: ProviderContext) -> None:
    reader, writer = os.pipe()
    with Keeper.reach(context.runtime, ONE, network="host") as keeper:
        big = {f"V{number}": "x" * 100_000 for number in range(10)}
        keeper.launch("web", ["/bin/sh", "-c", "echo ${#V9} $#", "sh", *("a" for _ in range(5000))], big, {1: writer})
        os.close(writer)
        with open(reader) as said:
            assert said.read() == "100000 5000\n"
