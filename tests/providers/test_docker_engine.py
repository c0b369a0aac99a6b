"""The way to an engine, by every transport, and what is told when it does not lead there."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker_daemon import daemon
from docker_engines import Forwarder, busybox, certificates, imported, popen, processes, run, running

from envup_docker import doctor, endpoint
from envup_docker.endpoint import Endpoint
from envup_docker.engine import Engine, EngineError

FAKE_SSH = """\
#!/bin/sh
echo "$*" >> "$0.log"
while [ "$1" != -- ]; do shift; done
[ "$2" = box ] || { echo "ssh: Could not resolve hostname $2" >&2; exit 255; }
shift 2
unset DOCKER_HOST
exec "$@"
"""


@pytest.fixture(scope="module")
def engine() -> Engine:
    """This host's engine."""
    return Engine(endpoint.find(os.environ))


@pytest.fixture(scope="module")
def container(engine: Engine) -> Iterator[str]:
    """A running container."""
    with imported(engine, busybox(shell=True)) as image, running(engine, image) as made:
        yield made


@pytest.fixture
def forwarder(engine: Engine, tmp_path: Path) -> Iterator[Forwarder]:
    """A socket that leads to the engine."""
    made = Forwarder(tmp_path / "engine.sock")
    yield made
    made.close()


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """An engine of its own on a port with TLS, which lets in who has a certificate."""
    directory = tmp_path_factory.mktemp("certificates")
    certificates(directory)
    keys = {"--tlscacert": "ca", "--tlscert": "server", "--tlskey": "server-key"}
    files = [word for option, name in keys.items() for word in (option, f"{directory}/{name}.pem")]
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        daemon("--host", "fd://", "--tlsverify", *files, port=server),
    ):
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        yield Endpoint(address, tls=True, certificates=str(directory))


@pytest.fixture
def ssh(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program `ssh` first on the path, which runs what it is asked to on this host; where it notes its arguments."""
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(FAKE_SSH)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return program.with_suffix(".log")


def refusal(where: Endpoint) -> EngineError:
    """Why an engine cannot be asked."""
    with pytest.raises(EngineError) as caught:
        Engine(where).call("GET", "/version", timeout=20)
    return caught.value


def test_the_doctor_says_which_engine_there_is(engine: Engine) -> None:
    check, *_others = doctor.examine(os.environ)
    assert check.ok
    assert engine.call("GET", "/version")["Version"] in check.message


def test_a_connection_serves_several_questions(engine: Engine, forwarder: Forwarder) -> None:
    asked = Engine(Endpoint(forwarder.address))
    for _ in range(3):
        assert asked.call("GET", "/containers/json", query={"filters": {"label": ["none=such"]}}) == []
        with pytest.raises(EngineError) as caught:
            asked.call("GET", "/containers/no-such-container/json")
        assert (caught.value.status, "no-such-container" in caught.value.message) == (404, True)
    assert forwarder.connections == 1


def test_a_connection_that_the_engine_closed_is_replaced(forwarder: Forwarder) -> None:
    asked = Engine(Endpoint(forwarder.address))
    asked.call("GET", "/version")
    forwarder.drop()
    assert asked.call("GET", "/version")["ApiVersion"]
    assert forwarder.connections == 2


def test_an_engine_serves_several_threads(engine: Engine, forwarder: Forwarder) -> None:
    asked = Engine(Endpoint(forwarder.address))
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(asked.call("GET", "/info")["ID"])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [engine.call("GET", "/info")["ID"]] * 8


def test_an_engine_that_goes_away_is_an_error(forwarder: Forwarder) -> None:
    asked = Engine(Endpoint(forwarder.address))
    with pytest.raises(EngineError) as caught, asked.stream("GET", "/events") as answer:
        forwarder.close()
        answer.read(1)
    assert caught.value.status == 0


def test_an_engine_that_does_not_answer_in_time_is_an_error(engine: Engine) -> None:
    with pytest.raises(EngineError, match="in time"):
        engine.call("GET", "/events", timeout=0.1)


def test_a_missing_socket_is_told_with_a_remedy(tmp_path: Path) -> None:
    error = refusal(Endpoint(f"unix://{tmp_path}/none.sock"))
    assert f"no Docker engine answers at unix://{tmp_path}/none.sock" in error.message
    assert "docker.io" in error.hint


def test_a_stopped_engine_is_told_with_a_remedy(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "closed.sock"))
    error = refusal(Endpoint(f"unix://{tmp_path}/closed.sock"))
    assert "it does not run" in error.message
    assert "systemctl start docker" in error.hint


def test_a_user_who_may_not_is_told_what_to_do(tmp_path: Path) -> None:
    program = (
        "import os, sys; sys.path = sys.argv[2:]; from envup_docker import doctor; os.setuid(65534); "
        "print(doctor.examine({'DOCKER_HOST': sys.argv[1]})[0])"
    )
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "docker.sock"))
        server.listen()
        (tmp_path / "docker.sock").chmod(0o600)
        for directory in (tmp_path, *tmp_path.parents):
            directory.chmod(directory.stat().st_mode | 0o011)
        line = [sys.executable, "-c", program, f"unix://{tmp_path}/docker.sock", *sys.path]
        said = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert "not allowed" in said.stdout, said.stderr
    assert "usermod -aG docker" in said.stdout


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"], ids=["ssh", "web"]
)
def test_what_is_no_engine_is_told_as_such(tmp_path: Path, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_answer_once, args=(server, answer)).start()
        check = doctor.examine({"DOCKER_HOST": f"tcp://127.0.0.1:{server.getsockname()[1]}"})[0]
    assert not check.ok
    assert "Docker engine" in check.message or "HTTP" in check.message


def test_an_engine_that_is_too_old_is_told_as_such() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        answer = b"HTTP/1.1 200 OK\r\nServer: Docker/18.09\r\nApi-Version: 1.39\r\nContent-Length: 0\r\n\r\n"
        threading.Thread(target=_answer_once, args=(server, answer)).start()
        check = doctor.examine({"DOCKER_HOST": f"tcp://127.0.0.1:{server.getsockname()[1]}"})[0]
    assert (check.ok, "too old" in check.message, bool(check.remedy)) == (False, True, True)


def _answer_once(server: socket.socket, answer: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(answer)
        connection.recv(65536)


def test_programs_run_through_tls(secured: Endpoint) -> None:
    engine = Engine(secured)
    data = bytes(range(256)) * 4096
    with imported(engine, busybox(shell=True)) as image, running(engine, image) as container:
        done = run(secured, container, "sh", "-c", "cat; echo err >&2; exit 7", data=data)
    assert (done.returncode, done.stdout == data, done.stderr) == (7, True, b"err\n")


def test_a_certificate_that_is_not_trusted_is_told(secured: Endpoint) -> None:
    error = refusal(Endpoint(secured.address, tls=True, certificates="/no/where"))
    assert "not trusted" in error.message
    assert "/no/where" in error.hint


def test_an_engine_that_wants_a_certificate_is_told(secured: Endpoint, tmp_path: Path) -> None:
    shutil.copy(f"{secured.certificates}/ca.pem", tmp_path)
    error = refusal(Endpoint(secured.address, tls=True, certificates=str(tmp_path)))
    assert "TLS failed" in error.message


def test_an_engine_that_wants_tls_is_told(secured: Endpoint) -> None:
    error = refusal(Endpoint(secured.address))
    assert "DOCKER_TLS_VERIFY" in error.hint


def test_a_host_that_refuses_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for where in (Endpoint(f"tcp://127.0.0.1:{port}"), Endpoint(f"tcp://127.0.0.1:{port}", tls=True)):
        error = refusal(where)
        assert f"no Docker engine answers at tcp://127.0.0.1:{port}: Connection refused" in error.message
        assert error.hint


def test_programs_run_through_ssh(ssh: Path, container: str) -> None:
    done = run(Endpoint("ssh://me@box:2222"), container, "sh", "-c", "cat; exit 7", data=b"input")
    assert (done.returncode, done.stdout) == (7, b"input")
    assert "-l me -p 2222 -- box docker system dial-stdio" in ssh.read_text()


def test_what_ssh_says_is_told(ssh: Path) -> None:
    error = refusal(Endpoint("ssh://nowhere"))
    assert "Could not resolve hostname nowhere" in error.message
    assert "ssh" in error.hint


def test_no_ssh_program_is_left_behind(ssh: Path, container: str, engine: Engine) -> None:
    before = _children()
    asked = Engine(Endpoint("ssh://box"))
    asked.call("GET", "/version")
    assert _children() > before
    asked.close()
    assert _children() == before


def test_a_killed_caller_takes_its_program_along_through_ssh(ssh: Path, container: str, engine: Engine) -> None:
    with popen(
        Endpoint("ssh://box"), container, "sh", "-c", "echo ready; sleep 4801", streams={"stdout": -1}
    ) as caller:
        assert caller.stdout.readline() == b"ready\n"
        caller.kill()
    with engine.stream(
        "GET", "/events", query={"filters": {"container": [container], "event": ["exec_die"]}}
    ) as events:
        lines = events.lines()
        while processes(engine, container, "4801"):
            next(lines)


def _children() -> int:
    pid = os.getpid()
    return len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
