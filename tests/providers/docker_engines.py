"""Containers of a real engine for the cases about the way to it and into them, and ways that lead to it."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import socket
import ssl
import subprocess
import tarfile
import threading
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from envup.provider import Command
from envup_docker import commands, endpoint
from envup_docker.endpoint import Endpoint
from envup_docker.engine import Engine

PATIENCE = 60
KEEP = ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done"]


@contextlib.contextmanager
def imported(engine: Engine, archive: BinaryIO) -> Iterator[str]:
    """An image of a root file system."""
    name = f"envup-test-{uuid.uuid4().hex[:12]}"
    query = {"fromSrc": "-", "repo": name, "tag": "t"}
    with engine.stream("POST", "/images/create", query=query, content=archive) as answer:
        assert "error" not in list(answer.lines())[-1]
    try:
        yield f"{name}:t"
    finally:
        engine.call("DELETE", f"/images/{name}:t", query={"force": True})


def busybox(*, shell: bool) -> BinaryIO:
    """The archive of a system of busybox alone: no GNU tar, and perhaps no shell."""
    program = Path(shutil.which("busybox") or "/bin/busybox").read_bytes()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        info = tarfile.TarInfo("busybox")
        info.size, info.mode = len(program), 0o755
        archive.addfile(info, io.BytesIO(program))
        for name in ("sh", "sleep", "cat", "ls", "stat", "readlink", "tar") if shell else ():
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "/busybox"
            archive.addfile(link)
        directory = tarfile.TarInfo("srv")
        directory.type, directory.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(directory)
    stream.seek(0)
    return stream


@contextlib.contextmanager
def running(engine: Engine, image: str, command: list[str] = KEEP, **host: Any) -> Iterator[str]:
    """The id of a running container."""
    config = {"Image": image, "Cmd": command, "HostConfig": {"Init": True, "NetworkMode": "none", **host}}
    container: str = engine.call("POST", "/containers/create", body=config)["Id"]
    try:
        engine.call("POST", f"/containers/{container}/start")
        yield container
    finally:
        engine.call("DELETE", f"/containers/{container}", query={"force": True, "v": True})


def popen(where: Endpoint, container: str, *argv: str, streams: Mapping[str, Any] | None = None, **fields: Any) -> Any:
    """Start a program in a container."""
    host = commands.enter(where, container, Command(argv, **fields))
    return subprocess.Popen(host.argv, env={**os.environ, **host.environment}, **(streams or {}))


def run(where: Endpoint, container: str, *argv: str, data: bytes | None = None, **fields: Any) -> Any:
    """Run a program to its end: `returncode`, `stdout`, `stderr`."""
    given = subprocess.DEVNULL if data is None else subprocess.PIPE
    streams = {"stdin": given, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with popen(where, container, *argv, streams=streams, **fields) as process:
        output, errors = process.communicate(data, timeout=PATIENCE)
    return subprocess.CompletedProcess(argv, process.returncode, output, errors)


def processes(engine: Engine, container: str, mark: str) -> int:
    """How many programs of a container have `mark` in their arguments."""
    listed = engine.call("GET", f"/containers/{container}/top")["Processes"]
    return sum(mark in " ".join(one) for one in listed)


class Forwarder:
    """A socket of its own that leads to the engine, and can let go of everybody."""

    def __init__(self, path: Path) -> None:
        self._engine = endpoint.find(os.environ).rest
        self._open: list[socket.socket] = []
        self.connections = 0
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self.address = f"unix://{path}"
        threading.Thread(target=self._serve, daemon=True).start()

    def drop(self) -> None:
        """Close every connection."""
        while self._open:
            with contextlib.suppress(OSError):
                self._open.pop().shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close everything: nobody answers any more."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.drop()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        with near, socket.socket(socket.AF_UNIX) as far:
            far.connect(self._engine)
            self._open += [near, far]
            there = threading.Thread(target=_carry, args=(near, far), daemon=True)
            there.start()
            _carry(far, near)
            there.join()


def _carry(source: socket.socket, target: socket.socket) -> None:
    """Carry bytes one way, and their end."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def certificates(directory: Path) -> ssl.SSLContext:
    """Makes `ca.pem`, `cert.pem` and `key.pem` of a client in `directory`; the other side's context, which asks for
    them."""
    make = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for name in ("ca", "server", "client"):
        key, made = directory / f"{name}-key.pem", directory / f"{name}.pem"
        line = [*make, "-x509", "-days", "2", "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(made)]
        if name != "ca":
            line += ["-CA", str(directory / "ca.pem"), "-CAkey", str(directory / "ca-key.pem")]
            line += ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]
        subprocess.run(line, check=True, capture_output=True, timeout=PATIENCE)
    (directory / "client.pem").rename(directory / "cert.pem")
    (directory / "client-key.pem").rename(directory / "key.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(directory / "ca.pem"))
    context.load_cert_chain(directory / "server.pem", directory / "server-key.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context
