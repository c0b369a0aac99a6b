"""An engine of the tests' own, which they may stop and start."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from docker_engines import PATIENCE

_ENTER = """\
port=$0
if ((port)); then
    exec 3<&"$port"
    export LISTEN_PID=$$ LISTEN_FDS=1
fi
exec "$@"
"""
"""Becomes dockerd, which finds a listening socket as sd_listen_fds(3) does."""


class Daemon:
    """A dockerd with a data directory, a socket, a containerd and a network namespace of its own: in the host's it
    would take the bridge from the host's engine. `address` is its socket's; `port` is a listening one on which it
    serves too, and `options` are further ones of its command line."""

    def __init__(self, directory: Path, options: Sequence[str] = (), port: socket.socket | None = None) -> None:
        self._directory = directory
        self._options = options
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self.address = f"unix://{directory}/engine.sock"

    def start(self) -> None:
        """Start it, and wait until it listens; one that runs is no error."""
        if self._process is not None:
            return
        own = self._directory
        (own / "none.json").write_text("{}")
        line = [
            "unshare", "--net", "bash", "-c", _ENTER, str(self._port.fileno() if self._port else 0),
            "dockerd", "--config-file", str(own / "none.json"), "--data-root", str(own / "data"),
            "--exec-root", str(own / "exec"), "--pidfile", str(own / "pid"), "--host", self.address, *self._options,
        ]  # fmt: skip
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told, (own / "log").open("ab") as log:
            told.bind(str(own / "notify"))
            environment = {**os.environ, "NOTIFY_SOCKET": str(own / "notify")}
            given = (self._port.fileno(),) if self._port else ()
            self._process = subprocess.Popen(
                line, stdout=log, stderr=log, env=environment, pass_fds=given, start_new_session=True
            )
            self._await_notice(told)
        (own / "notify").unlink()

    def stop(self) -> None:
        """End it as a service is stopped, its containers with it; one that does not run is no error."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(PATIENCE)
            self._process = None

    def _await_notice(self, told: socket.socket) -> None:
        """It says that it is ready as sd_notify(3) does."""
        assert self._process is not None
        with os.fdopen(os.pidfd_open(self._process.pid)) as ended:
            said = b""
            while b"READY=1" not in said:
                ready, _, _ = select.select([told.fileno(), ended.fileno()], [], [], PATIENCE)
                assert told.fileno() in ready, f"dockerd did not start: {(self._directory / 'log').read_text()[-2000:]}"
                said = told.recv(4096)


@contextlib.contextmanager
def daemon(*options: str, port: socket.socket | None = None) -> Iterator[Daemon]:
    """A running one, see `Daemon`. Its directory is below /run, as the name of a socket must be short, its data below
    /var/tmp."""
    directory = Path(tempfile.mkdtemp(prefix="envup-engine.", dir="/run"))
    data = Path(tempfile.mkdtemp(prefix="envup-engine.", dir="/var/tmp"))
    (directory / "data").symlink_to(data)
    own = Daemon(directory, options, port)
    try:
        own.start()
        yield own
    finally:
        own.stop()
        shutil.rmtree(directory)
        shutil.rmtree(data)
