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


class Daemon:
    """A dockerd with a data directory, a socket and a containerd of its own, and no networks. `address` is its
    socket's; `options` are further ones of its command line."""

    def __init__(self, directory: Path, options: Sequence[str] = ()) -> None:
        self._directory = directory
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.address = f"unix://{directory}/engine.sock"

    def start(self) -> None:
        """Start it, and wait until it listens; one that runs is no error."""
        if self._process is not None:
            return
        own = self._directory
        (own / "none.json").write_text("{}")
        line = [
            "dockerd", "--config-file", str(own / "none.json"), "--data-root", str(own / "data"),
            "--exec-root", str(own / "exec"), "--pidfile", str(own / "pid"), "--host", self.address,
            "--bridge", "none", "--iptables=false", "--ip-forward=false", *self._options,
        ]  # fmt: skip
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told, (own / "log").open("ab") as log:
            told.bind(str(own / "notify"))
            environment = {**os.environ, "NOTIFY_SOCKET": str(own / "notify")}
            self._process = subprocess.Popen(line, stdout=log, stderr=log, env=environment, start_new_session=True)
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
def daemon(*options: str) -> Iterator[Daemon]:
    """A running one. Its directory is below /run, as the name of a socket must be short, its data below /var/tmp."""
    directory = Path(tempfile.mkdtemp(prefix="envup-engine.", dir="/run"))
    data = Path(tempfile.mkdtemp(prefix="envup-engine.", dir="/var/tmp"))
    (directory / "data").symlink_to(data)
    own = Daemon(directory, options)
    try:
        own.start()
        yield own
    finally:
        own.stop()
        shutil.rmtree(directory)
        shutil.rmtree(data)
