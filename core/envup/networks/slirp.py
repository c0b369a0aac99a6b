"""The way out of an environment's network: slirp4netns(1), which speaks for the machines from the host's side.

A watcher, forked while the keeper is still in the host's namespaces, runs it, and runs it anew when it ends before it
was told to. Each one makes its device in the keeper's network and says so; the keeper makes that a port of its bridge.
"""

from __future__ import annotations

import os
import select

from envup.namespaces import syscalls
from envup.namespaces.signals import signal
from envup.networks import bridge, descriptors

PROGRAM = "slirp4netns"
DEVICE = "tap0"
_PATIENCE = 5
"""Seconds that its end is waited for."""
_MOST_KEPT = 4096
"""Bytes of what it says that are told when it fails; the machines can make it say much."""
_APART = ("unshare", "--mount", "--propagation", "slave", "--")
"""Root's slirp4netns unmounts what is shared with the host, on the host too, when it confines itself (1.2.0, sandbox.c,
makes private no more than `/`): Docker's running containers would lose their files."""


class Watcher:
    """The process that runs slirp4netns. `ready` is a descriptor that reads a byte each time that one has made its
    device, and is at its end when none can be run."""

    __slots__ = ("_alive", "_go", "_process", "ready")

    def __init__(self, *, host_loopback: bool) -> None:
        """Fork it. It waits for `start`, and ends with this process."""
        keeper = os.getpid()
        go, self._go = os.pipe()
        alive, self._alive = os.pipe()
        self.ready, ready = os.pipe()
        self._process = os.fork()
        if self._process == 0:
            descriptors.close_all_but({1, 2, go, alive, ready})
            options = [] if host_loopback else ["--disable-host-loopback"]
            try:
                _watch([*options, str(keeper), DEVICE], go, alive, ready)
            except OSError as error:
                os.write(2, f"{error.filename or PROGRAM}: {error.strerror}\n".encode("utf-8", "surrogateescape"))
            finally:
                os._exit(0)
        for descriptor in (go, alive, ready):
            os.close(descriptor)

    def start(self) -> None:
        """Let it run one: this process is in its namespaces now, and none runs."""
        self._order(b"g")

    def pause(self) -> None:
        """Let it end the one that is ready, and wait for `start`. Returns at once."""
        self._order(b"p")

    def _order(self, order: bytes) -> None:
        try:
            os.write(self._go, order)
        except BrokenPipeError:  # somebody has killed it, which `ready` tells
            return

    def end(self) -> None:
        """End it and slirp4netns; returns when they have, or after a while: a device may hold them."""
        os.close(self._go)
        os.close(self._alive)
        ended = select.poll()
        ended.register(os.pidfd_open(self._process), select.POLLIN)
        ended.poll(_PATIENCE * 1000)


def _watch(target: list[str], go: int, alive: int, ready: int) -> None:
    """Run it when it is wanted, until the keeper is gone or until one ends that was never ready. It is confined as its
    manual recommends: what it reads comes from the machines."""
    syscalls.set_process_name("envup-slirp")
    os.open("/dev/null", os.O_RDWR)  # its standard input
    os.set_inheritable(alive, True)
    line = [PROGRAM, f"--mtu={bridge.MTU}", "--enable-sandbox", "--enable-seccomp", f"--exit-fd={alive}", *target]
    while order := os.read(go, 1):
        while order == b"g" and not _ready(go):
            if not _run(line, go, ready):
                return


def _ready(descriptor: int) -> bool:
    """Whether there is something to read, or nobody who could still write."""
    return bool(select.select([descriptor], [], [], 0)[0])


def _run(line: list[str], go: int, ready: int) -> bool:
    """Run one to its end, or until `go` is ready; whether it was ready itself."""
    reader, writer = os.pipe()
    spoken, speaking = os.pipe()
    os.set_inheritable(writer, True)
    actions = [(os.POSIX_SPAWN_DUP2, speaking, 1), (os.POSIX_SPAWN_DUP2, speaking, 2)]
    argv = [*(() if os.geteuid() else _APART), line[0], f"--ready-fd={writer}", *line[1:]]
    child = os.posix_spawnp(argv[0], argv, os.environ, file_actions=actions)
    os.close(writer)
    os.close(speaking)
    was_ready = os.read(reader, 1) == b"1"
    if was_ready:
        os.write(ready, b"r")
    said = _listen(spoken, go)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reader)
    os.close(spoken)
    if not was_ready:
        os.write(2, said)
    return was_ready


def _listen(spoken: int, go: int) -> bytes:
    """The last of what it says until it ends or `go` is ready."""
    said = b""
    while go not in select.select([spoken, go], [], [])[0] and (chunk := os.read(spoken, _MOST_KEPT)):
        said = (said + chunk)[-_MOST_KEPT:]
    return said
