"""Starts a machine and waits until systemd-nspawn says that it runs. `NspawnProvider.launch` runs it in a bare
interpreter, with what to do, marshalled, on standard input. Exit code 0, or 1 with the reason on standard error."""

from __future__ import annotations

import marshal
import os
import select
import socket
import sys
from typing import Any

from envup.namespaces import guestfiles, records, runtimes, syscalls

_RUNTIME = "/run/systemd/nspawn"


def main(_arguments: list[str]) -> int:
    """See the module."""
    config: dict[str, Any] = marshal.loads(sys.stdin.buffer.read())
    os.umask(0o022)
    os.chdir(config["machine"])
    try:
        _mount(config["trees"])
        guestfiles.write_below("root", **config["files"])
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, open("nspawn.log", "w+b") as log:
            notify.bind(f"{_RUNTIME}/notify")
            if (nspawn := os.fork()) == 0:
                _become_nspawn(config, log.fileno())
            if leader := _await_ready(nspawn, notify):
                records.write_run(config["machine"], leader, _record(config, nspawn), ready=True)
                return 0
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace"))
    except OSError as error:
        sys.stderr.write(f"{error.filename or 'systemd-nspawn'}: {error.strerror}\n")
    return 1


def _mount(trees: list[str]) -> None:
    """The machine's root, and a place for what nspawn keeps of it, where only nspawn sees them: both go when it ends,
    however that comes. The names of the layers are relative, as the machine can read them."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    opened = [os.open(tree, os.O_PATH | os.O_DIRECTORY) for tree in trees]
    lower = ":".join(f"/proc/self/fd/{descriptor}" for descriptor in opened)
    layers = f"lowerdir={lower},upperdir=upper,workdir=work"
    syscalls.mount("overlay", "root", "overlay", syscalls.MS_NODEV, layers)
    os.makedirs("root/usr", exist_ok=True)  # nspawn takes nothing without it for a system
    os.makedirs(_RUNTIME, exist_ok=True)
    syscalls.mount("tmpfs", _RUNTIME, "tmpfs", 0, "mode=700")


def _become_nspawn(config: dict[str, Any], log: int) -> None:
    """What the child does; its record is there before anything that could outlive it."""
    try:
        os.setsid()
        for number, file in enumerate((os.open("/dev/null", os.O_RDONLY), os.open("console.log", os.O_RDWR), log)):
            os.dup2(file, number)
        os.closerange(3, 1 << 20)
        records.write_run(config["machine"], os.getpid(), _record(config, os.getpid()), ready=False)
        runtimes.enter(config["own_groups"])
        os.execvpe(config["argv"][0], config["argv"], {**os.environ, "NOTIFY_SOCKET": f"{_RUNTIME}/notify"})
    except OSError as error:
        os.write(2, f"{error.filename or 'systemd-nspawn'}: {error.strerror}\n".encode())
    os._exit(1)


def _await_ready(nspawn: int, notify: socket.socket) -> int:
    """The machine's PID 1 as the host numbers it, once nspawn has said READY (see sd_notify(3)); 0 when it ended."""
    leader, ended = 0, os.pidfd_open(nspawn)
    while notify.fileno() in select.select([notify.fileno(), ended], [], [])[0]:
        said = dict(line.partition("=")[::2] for line in notify.recv(4096).decode().splitlines())
        leader = int(said.get("X_NSPAWN_LEADER_PID", leader))
        if "READY" in said:
            return leader
    return 0


def _record(config: dict[str, Any], nspawn: int) -> str:
    return f'{config["record"]}, "nspawn": {nspawn}, "nspawn_start": "{records.start_time(nspawn)}"'
