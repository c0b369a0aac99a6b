"""OpenSSH's client uses machines of every provider by what `env ssh-config` prints."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import select
import socket
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest
from real_machines import ENVUP, Project, make_small_archive, open_project

pytestmark = [pytest.mark.root, pytest.mark.slow]

PROVIDERS = ("chroot", "docker", "lxc")
LIMIT = 60
ENVFILE = """\
name: ssh
defaults: {image: {tarball: "@ARCHIVE@"}, mounts: [], environment: {MARK: "@HOME@"}}
machines:
  chroot: {provider: chroot}
  docker: {provider: docker}
  lxc: {provider: lxc}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A machine on each provider, and their configuration in the file `config`."""
    archive = make_small_archive(tmp_path_factory.mktemp("archive") / "rootfs.tar")
    with open_project(ENVFILE, archive, "my project%") as project:
        project.must("up")
        (project.directory / "config").write_text(project.must("ssh-config"))
        yield project


@pytest.fixture(params=PROVIDERS)
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def line(project: Project, *arguments: str) -> list[str]:
    return ["ssh", "-F", str(project.directory / "config"), *arguments]


def ssh(project: Project, *arguments: str, data: bytes = b"", **variables: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, **variables}
    return subprocess.run(
        line(project, *arguments), input=data, capture_output=True, timeout=LIMIT, check=False, env=environment
    )


def test_streams_and_exit_code_are_the_programs(project: Project, machine: str) -> None:
    data = os.urandom(3 << 20)
    done = ssh(project, machine, "cat; echo 'a  b' \"$0\" >&2; exit 42", data=data)
    assert (done.returncode, done.stdout == data) == (42, True)
    assert done.stderr.decode().startswith("a  b ")


def test_the_user_is_the_one_that_logs_in(project: Project, machine: str) -> None:
    assert ssh(project, machine, "id -u").stdout == b"0\n"
    assert ssh(project, "-l", "1234", machine, "id -u").stdout == b"1234\n"


def test_variables_of_the_language_are_passed_on_and_no_others(project: Project, machine: str) -> None:
    sent = ("-o", "SendEnv=LC_NAME SECRET", machine, 'echo "$LC_NAME,$SECRET,$MARK"')
    said = ssh(project, *sent, LC_NAME="de", SECRET="x").stdout.decode()
    assert said == f"de,,{project.home}\n"


def test_a_terminal_has_its_size_and_follows_it(project: Project, machine: str) -> None:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 91, 0, 0))
    command = line(project, "-tt", machine, "stty size; read x; stty size; echo $TERM; exit 7")
    environment = {**os.environ, "TERM": "vt220"}
    with subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    ) as client:  # fmt: skip
        os.close(slave)
        seen = expect(master, b"31 91")
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 17, 71, 0, 0))
        seen += ask_until(master, project, machine)
        assert client.wait(LIMIT) == 7
    os.close(master)
    assert b"17 71" in seen and b"vt220" in seen


def expect(terminal: int, text: bytes) -> bytes:
    """What it shows until it has shown that."""
    seen, limit = b"", time.monotonic() + LIMIT
    while text not in seen:
        assert select.select([terminal], [], [], max(0.0, limit - time.monotonic()))[0], seen
        seen += os.read(terminal, 4096)
    return seen


def ask_until(terminal: int, project: Project, machine: str) -> bytes:
    """What it shows from now on, once the machine's terminal has the new size."""
    size = 'for t in /dev/pts/[0-9]*; do stty size < "$t"; done'
    limit = time.monotonic() + LIMIT
    while b"17 71" not in ssh(project, machine, size).stdout:
        assert time.monotonic() < limit
    os.write(terminal, b"x\n")
    return expect(terminal, b"vt220")


def test_a_program_ends_with_its_client(project: Project, machine: str) -> None:
    with subprocess.Popen(line(project, machine, "echo up; exec sleep 4242"), stdout=subprocess.PIPE) as client:
        assert client.stdout is not None and client.stdout.readline() == b"up\n"
        assert running(project, machine)
        client.kill()
    limit = time.monotonic() + LIMIT
    while running(project, machine):
        assert time.monotonic() < limit


def test_nothing_waits_for_what_a_program_left_behind_once_the_client_is_gone(project: Project) -> None:
    left = "sleep 4243 & echo up"
    with subprocess.Popen(line(project, "chroot", left), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        assert client.stdout is not None and client.stdout.readline() == b"up\n"
        assert servers(project)
        client.kill()
        assert client.communicate(timeout=LIMIT) == (b"", b"")
    limit = time.monotonic() + LIMIT
    while servers(project):
        assert time.monotonic() < limit


def servers(project: Project) -> list[int]:
    """The processes that serve connections to machines of this project."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"envup.ssh" in words and os.fsencode(project.directory) in words:
            found.append(int(process.name))
    return found


def running(project: Project, machine: str) -> bool:
    done = project.run("exec", machine, "--", "sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '")
    return "sleep 4242 " in done.stdout


def test_ports_of_the_machine_are_forwarded(project: Project, machine: str) -> None:
    serve = ("exec", machine, "--", "sh", "-c", "echo hello | nc -l -p 8095")
    with project.start(*serve) as server:
        answer = b""
        limit = time.monotonic() + LIMIT
        while not answer and time.monotonic() < limit:
            answer = ssh(project, "-W", "localhost:8095", machine).stdout
        server.wait(LIMIT)
    assert answer == b"hello\n"
    assert b"administratively prohibited" in ssh(project, "-W", "example.org:80", machine).stderr
    assert b"Connection refused" in ssh(project, "-W", "localhost:1", machine).stderr


def test_a_listening_client_forwards_many_connections(project: Project, machine: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    forward = line(project, "-N", "-o", "ExitOnForwardFailure=yes", "-L", f"127.0.0.1:{port}:localhost:8096", machine)
    command = "while :; do echo again | nc -l -p 8096; done"
    with project.start("exec", machine, "--", "sh", "-c", command) as service, subprocess.Popen(forward) as client:
        answers, limit = 0, time.monotonic() + LIMIT
        while answers < 3 and time.monotonic() < limit:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=LIMIT) as connection:
                    answers += connection.recv(100) == b"again\n"
            except OSError:
                continue
        client.terminate()
        service.terminate()
    assert answers == 3


def test_the_machine_is_that_of_the_configuration_wherever_the_client_starts(project: Project, tmp_path: Path) -> None:
    (tmp_path / "Envfile").write_text("image: host\n")
    for module in ("asyncio", "asyncssh", "envup"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('a file of the current directory was imported')\n")
    environment = {**os.environ, "ENVUP_FILE": str(tmp_path / "Envfile")}
    done = subprocess.run(
        line(project, "lxc", "hostname"), cwd=tmp_path, env=environment, capture_output=True, timeout=LIMIT, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"lxc\n"), done.stderr


def test_a_key_that_is_not_the_environments_is_refused(project: Project, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    config = tmp_path / "config"
    own = project.home / "data/ssh" / project.id / "key"
    config.write_text((project.directory / "config").read_text().replace(str(own), str(tmp_path / "key")))
    done = subprocess.run(["ssh", "-F", str(config), "chroot", "true"], capture_output=True, timeout=LIMIT, check=False)
    assert done.returncode == 255 and b"Permission denied" in done.stderr


def test_keys_are_the_users_alone_and_stay_the_same(project: Project) -> None:
    again = project.must("ssh-config", "lxc", "--json")
    (told,) = json.loads(again)["machines"]
    assert told["config"] in (project.directory / "config").read_text()
    directory = project.home / "data/ssh" / project.id
    assert (directory.stat().st_mode & 0o777, (directory / "key").stat().st_mode & 0o777) == (0o700, 0o600)


def test_a_machine_that_does_not_run_says_so(project: Project) -> None:
    project.must("stop", "chroot")
    done = ssh(project, "chroot", "true")
    assert done.returncode == 255
    assert b"machine 'chroot' is stopped" in done.stderr and b"env up chroot" in done.stderr
    project.must("up", "chroot")


def sftp(project: Project, machine: str, *commands: str) -> subprocess.CompletedProcess[bytes]:
    line = ["sftp", "-q", "-b", "-", "-F", str(project.directory / "config"), machine]
    batch = "".join(f"{command}\n" for command in commands).encode()
    return subprocess.run(line, input=batch, capture_output=True, timeout=LIMIT, check=False)


def scp(project: Project, *arguments: str) -> None:
    line = ["scp", "-q", "-F", str(project.directory / "config"), *arguments]
    done = subprocess.run(line, capture_output=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stderr


def test_files_are_copied_where_the_machine_has_no_file_server(project: Project, machine: str, tmp_path: Path) -> None:
    data = os.urandom(5 << 20)
    (tmp_path / "a file").write_bytes(data)
    (tmp_path / "a file").chmod(0o640)
    scp(project, "-p", str(tmp_path / "a file"), f"{machine}:/root/there")
    told = ssh(project, machine, "stat -c '%a %s %Y' /root/there").stdout.split()
    assert told == [b"640", str(len(data)).encode(), str(int((tmp_path / "a file").stat().st_mtime)).encode()]
    scp(project, "-p", f"{machine}:there", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == data
    assert (tmp_path / "back").stat().st_mode & 0o777 == 0o640


def test_a_file_that_is_there_keeps_its_mode_and_a_new_one_gets_that_of_the_client(
    project: Project, machine: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("new")
    (tmp_path / "file").chmod(0o775)
    ssh(project, machine, "umask 077; echo older and longer > /root/kept; rm -f /root/made")
    for name in ("kept", "made"):
        scp(project, str(tmp_path / "file"), f"{machine}:/root/{name}")
    told = ssh(project, machine, "stat -c '%a %s' /root/kept /root/made").stdout.splitlines()
    assert told == [b"600 3", b"755 3"]


def test_a_file_that_is_not_written_in_one_go_comes_out_right(project: Project, machine: str) -> None:
    asyncio.run(written_in_pieces(project, machine))
    assert ssh(project, machine, "cat /root/pieces").stdout == b"first!"
    assert ssh(project, machine, "cat /root/once").stdout == b"kept"
    assert ssh(project, machine, "cat /root/anew").stdout == b"new content"
    assert ssh(project, machine, "cat /root/more").stdout == b"newMORE"
    assert ssh(project, machine, "cat /root/log").stdout == b"one\nmeanwhile\ntwo\n"
    assert ssh(project, machine, "stat -c %a /root/made-now /root/made-so").stdout.split() == [b"755", b"700"]


async def written_in_pieces(project: Project, machine: str) -> None:
    """AsyncSSH's own client writes a file back and forth, and looks at it meanwhile."""
    async with (
        asyncssh.connect(machine, config=str(project.directory / "config")) as connection,
        connection.start_sftp_client() as client,
    ):
        async with client.open("/root/pieces", "wb") as file:
            await file.write(b"first-here-")
            await file.write(b"second", 11)
            await file.write(b"HERE", 6)
            assert (await file.stat()).size == 17
        async with client.open("/root/pieces", "r+b") as file:
            assert await file.read() == b"first-HERE-second"
            await file.truncate(5)
            await file.write(b"!", 5)
        await truncated_and_appended(project, machine, client)
        async with client.open("/root/once", "xb") as file:
            await file.write(b"kept")
        with pytest.raises(asyncssh.SFTPError):
            await client.open("/root/once", "xb")
        with pytest.raises(asyncssh.SFTPNoSuchFile):
            await client.open("/no/such/place", "wb")
        with pytest.raises(asyncssh.SFTPError):
            async with client.open("/dev/full", "wb") as file:
                await file.write(b"x" * 100_000)


async def truncated_and_appended(project: Project, machine: str, client: asyncssh.SFTPClient) -> None:
    """As other clients than OpenSSH's do it."""
    ssh(project, machine, "for name in anew more; do yes | head -c 300 > /root/$name; done; rm -rf /root/made-*")
    async with client.open("/root/anew", "r+b") as file:
        await file.truncate(0)
        await file.write(b"new content", 0)
    async with client.open("/root/more", "r+b") as file:
        await file.write(b"new", 0)
        await file.truncate(3)
        assert (await file.stat()).size == 3
        await file.write(b"MORE", 3)
    async with client.open("/root/log", "wb") as file:
        await file.write(b"one\n")
    async with client.open("/root/log", "ab") as file:
        ssh(project, machine, "echo meanwhile >> /root/log")
        await file.write(b"two\n")
    await client.mkdir("/root/made-now", asyncssh.SFTPAttrs(permissions=0o777))
    await client.mkdir("/root/made-so", asyncssh.SFTPAttrs(permissions=0o700))
    with pytest.raises(asyncssh.SFTPError):
        await client.symlink("target", "/root/made-now")


def test_a_tree_is_copied_and_listed(project: Project, machine: str, tmp_path: Path) -> None:
    for name in ("one", "sub/two", "sub/.hidden", "sub/deep/with space"):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_text(name)
    scp(project, "-r", str(tmp_path / "tree"), f"{machine}:/srv-{machine}")
    scp(project, "-r", f"{machine}:/srv-{machine}", str(tmp_path / "back"))
    names = [
        sorted(str(path.relative_to(tmp_path / name)) for path in (tmp_path / name).rglob("*"))
        for name in ("tree", "back")
    ]
    assert names[0] == names[1]
    assert "sub/deep/with space" in names[0]


def test_requests_of_a_client_are_done_or_refused_as_by_any_server(project: Project, machine: str) -> None:
    place = f"/var/sftp-{machine}"
    ssh(project, machine, "mkdir -p /var; rm -rf /var/sftp-*")
    done = sftp(
        project, machine, f"mkdir {place}", f"cd {place}", "pwd", "ln -s target link", "mkdir sub", "rename sub moved",
        "chmod 700 moved", "ls -l", "-rm absent", "-rmdir absent", "-mkdir moved", "rmdir moved", "rm link", "ls -a",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = done.stdout.decode()
    assert f"Remote working directory: {place}" in said
    assert "drwx------" in said
    assert "lrwxrwxrwx" in said
    assert done.stderr.decode().lower().count("no such file") == 2, done.stderr
    assert ssh(project, machine, f"ls -A {place}").stdout == b""
    assert sftp(project, machine, "get /root/nosuch /tmp/x").returncode == 1


def test_unknown_machines_and_environments_without_any_are_refused(project: Project, tmp_path: Path) -> None:
    assert "there is no machine 'nosuch'" in project.run("ssh-config", "nosuch").stderr
    (tmp_path / "Envfile").write_text("image: host\n")
    done = subprocess.run([ENVUP, "ssh-config"], cwd=tmp_path, capture_output=True, timeout=LIMIT, check=False)
    assert done.returncode == 2 and b"env up" in done.stderr
