"""The connection that every command to one machine shares: OpenSSH's client, which passes on a socket here to the
agent's socket there. For the small programs as well; imports nothing heavy.

    <place>/port        libvirt's socket of the virtio-serial port; an empty file for a machine that is apart
    <place>/way         the client's socket; who connects to it speaks with the agent
    <place>/ssh_config  known_hosts key   what the client goes by
    <place>/log         what the client says of the current connection
    <place>/lock        held while a connection is made
    <place>/up          there once the machine has let somebody in
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH110, PTH123

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time

from envup.namespaces.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn, Protocol

    class Watch(Protocol):
        """Looks for what says that a machine will not come up."""

        def fileno(self) -> int:
            """Can be read when there is something to look at."""

        def failure(self) -> str | None:
            """It, if it has been seen."""

        def is_hung(self) -> bool:
            """Whether the machine has not said by now what it should have."""


PORT, WAY, CONFIG, LOG, LOCK, UP = "port", "way", "ssh_config", "log", "lock", "up"
_BANNER = 30
"""Seconds in which a machine that has been up before says who it is; it may restart."""
_BOOT = 60
"""The same of one that boots. The client then comes anew, whatever the machine made of it before."""
_SILENCES = 3
"""How often the client comes to a machine that has been up before and does not answer it."""
_REFUSALS = 20
"""How often it comes anew where the machine has it do so: once for each client from before that it has not seen go."""
_LOGGED = 1 << 20
"""Bytes that the client may write to its log."""
_TIMED_OUT = b"timed out during banner exchange"
_REFUSED = b"banner line contains invalid characters"
"""What the client says where the machine has it connect anew: see `server.refuse`."""
_KEPT = ("PATH", "HOME", "SSH_AUTH_SOCK", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "PYTHONPATH")
"""Variables for the client; libvirt goes by them on its way to a machine that is apart."""
STAGES = (
    (b"Authenticated to", "the agent"),
    (b"SSH2_MSG_NEWKEYS received", "authentication"),
    (b"Remote protocol version", "sshd"),
)
"""What the client says, and what comes after it."""


class NoWay(Exception):
    """The machine cannot be reached. `stage` is what it failed at, the text is what is known."""

    def __init__(self, stage: str, text: str) -> None:
        super().__init__(text)
        self.stage = stage


class Hung(NoWay):
    """The machine's kernel has not come to its first program."""

    def __init__(self) -> None:
        super().__init__("the kernel", "it has not come to its first program")


def config(proxy: str, *, passes: bool) -> str:
    """The client's configuration; paths in it are relative to the place. `proxy` is a shell line, which hands its
    connection over where it `passes` it, and otherwise carries it."""
    return f"""\
Host machine
    HostName machine
    User root
    ProxyCommand {proxy}
    ProxyUseFdpass {"yes" if passes else "no"}
    IdentityFile key
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile known_hosts
    GlobalKnownHostsFile /dev/null
    HostKeyAlias machine
    StrictHostKeyChecking yes
    PasswordAuthentication no
    KbdInteractiveAuthentication no
    BatchMode yes
    EscapeChar none
    Compression no
    Ciphers aes128-gcm@openssh.com,chacha20-poly1305@openssh.com
    LocalForward ./{WAY} /facts/agent
    StreamLocalBindUnlink yes
    ExitOnForwardFailure yes
    ServerAliveInterval 0
    TCPKeepAlive no
    LogLevel DEBUG1
"""


def open_way(place: str, seconds: float | None, watch: Watch | None = None) -> socket.socket:
    """A connection to the agent of a running machine, which may be booting. The shared connection is made where there
    is none; that is given up when `watch` sees a failure, or that the machine hangs. Errors: `NoWay`."""
    try:
        return _connect(place)
    except (ConnectionRefusedError, FileNotFoundError):
        pass
    except OSError as error:
        raise NoWay("boot", f"{place}: {error.strerror}") from None
    try:
        lock = os.open(f"{place}/{LOCK}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        raise NoWay("boot", "the machine is not running") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            return _connect(place)
        except (ConnectionRefusedError, FileNotFoundError):
            _start(place, seconds, watch)
        return _connect(place)
    except OSError as error:
        raise NoWay("the agent", f"{place}: {error.strerror}") from None
    finally:
        os.close(lock)


def _connect(place: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        connection.connect(f"/proc/self/fd/{directory}/{WAY}")  # short enough, whatever the directory's name
    except OSError:
        connection.close()
        raise
    finally:
        os.close(directory)
    return connection


def _start(place: str, seconds: float | None, watch: Watch | None) -> None:
    """Start the client, which goes to the background when the machine has let it in. Errors: `NoWay`."""
    if not os.path.exists(f"{place}/{PORT}"):
        raise NoWay("boot", "the machine is not running")
    was_up = os.path.exists(f"{place}/{UP}")
    limit = None if seconds is None else time.monotonic() + seconds
    silences, refusals = _SILENCES, _REFUSALS
    while True:
        patience = ("-o", f"ConnectTimeout={_BANNER if was_up else _BOOT}")
        code = _try(place, None if limit is None else max(0.0, limit - time.monotonic()), watch, patience)
        if code == 0:
            os.close(os.open(f"{place}/{UP}", os.O_WRONLY | os.O_CREAT, 0o600))
            return
        with open(f"{place}/{LOG}", "rb") as file:
            said = file.read()
        if _REFUSED in said:
            refusals -= 1
        elif was_up and b"banner" in said:
            silences -= 1
        elif was_up or code is None or _TIMED_OUT not in said:
            _complain(code, said)
        elif watch is not None and watch.is_hung():
            raise Hung
        if not (silences and refusals):
            _complain(code, said)


def _complain(code: int | None, said: bytes) -> NoReturn:
    stage = next((stage for mark, stage in STAGES if mark in said), "boot")
    if code is None:
        raise NoWay(stage, "it took too long")
    lines = [line for line in said.decode(errors="replace").splitlines() if not line.startswith("debug1:")]
    raise NoWay(stage, "\n".join(lines[-5:]) or "the connection was closed")


def _try(place: str, seconds: float | None, watch: Watch | None, options: tuple[str, ...]) -> int | None:
    """The client's exit code; None when it took too long. Errors: `NoWay` when `watch` sees a failure."""
    log = os.open(f"{place}/{LOG}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
    nothing = os.open(os.devnull, os.O_RDWR)
    from envup.namespaces import syscalls

    parent = os.getpid()
    try:
        child = os.fork()
        if child == 0:
            # One left behind would keep the port from the next until it is let in. In the background it is another.
            syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(255)
            _become_client(place, log, nothing, options)
    finally:
        os.close(log)
        os.close(nothing)
    return _await(child, seconds, watch)


def _become_client(place: str, log: int, nothing: int, options: tuple[str, ...]) -> NoReturn:
    """Only a child does this."""
    try:
        os.setsid()
        for descriptor, source in ((0, nothing), (1, nothing), (2, log)):
            os.dup2(source, descriptor)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        _limit_log()
        os.chdir(place)
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | {"LANG": "C"}
        os.execvpe("ssh", ("ssh", "-F", CONFIG, "-E", LOG, *options, "-f", "-N", "machine"), environment)
    except OSError as error:
        os.write(2, f"ssh: {os.strerror(error.errno or errno.EIO)}\n".encode())
    finally:
        os._exit(255)


def _limit_log() -> None:
    """A machine can have the client say as much as it likes."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_LOGGED, _LOGGED))


def _await(child: int, seconds: float | None, watch: Watch | None) -> int | None:
    """Its exit code; None when the time is up, and it is killed."""
    end = os.pidfd_open(child)
    try:
        await_ready(end, seconds, watch)
    except BaseException as error:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if isinstance(error, TimeoutError):
            return None
        raise
    finally:
        os.close(end)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def await_ready(descriptor: int, seconds: float | None, watch: Watch | None) -> None:
    """Until it can be read. Errors: `TimeoutError`; `NoWay` when `watch` sees a failure."""
    import select

    limit = None if seconds is None else time.monotonic() + seconds
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if watch is not None:
        poll.register(watch.fileno(), select.POLLIN)
    while descriptor not in (
        ready := dict(poll.poll(None if limit is None else max(0.0, limit - time.monotonic()) * 1000))
    ):
        if not ready:
            raise TimeoutError
        if watch is not None and (failure := watch.failure()) is not None:
            raise NoWay("boot", failure)
