"""Connecting to an engine. Whatever the way, what comes back is a plain socket that can be polled and half closed: TLS
and ssh are programs at the other end of a pair."""

from __future__ import annotations

import _socket
import errno
import os

from envup_docker.failures import EngineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess

    from envup_docker.endpoint import Endpoint

SHUT_WR, MSG_DONTWAIT = _socket.SHUT_WR, _socket.MSG_DONTWAIT

_CONNECT_TIMEOUT = 10.0
"""Seconds that an engine on another host may take to accept a connection."""

_LAST_WORDS = 5.0
"""Seconds that a program whose connection has ended may take to end too."""

_BROKEN = 255
"""Exit code of ssh(1), and of our own program for TLS, when the connection fails; others are those of the far end."""

_INSTALL = "install and start Docker: apt-get install docker.io; systemctl start docker (without systemd: dockerd)"
_START = "start it: systemctl start docker (without systemd: dockerd)"


class Channel:
    """A connection. `socket` blocks; close it with `close`, which also ends the program behind it."""

    __slots__ = ("_complaints", "_process", "socket")

    def __init__(
        self, socket: _socket.socket, process: subprocess.Popen[bytes] | None = None, complaints: int = -1
    ) -> None:
        self.socket, self._process, self._complaints = socket, process, complaints

    def close(self) -> None:
        """Close it; a second call does nothing."""
        self.socket.close()
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            os.close(self._complaints)
            self._process = None

    def complaint(self) -> str:
        """Close it; why the program behind it gave up, empty where there is none or it did not say."""
        self.socket.close()
        return self._last_words() if self._code() else ""

    def broken(self) -> str:
        """Why a connection that has come to its end was not ended by the engine; empty where it was."""
        return self._last_words() if self._code() == _BROKEN else ""

    def _code(self) -> int:
        """That of the program, which is about to end; 0 where there is none, or it stays."""
        if self._process is None:
            return 0
        from subprocess import TimeoutExpired

        try:
            return self._process.wait(_LAST_WORDS)
        except TimeoutExpired:
            return 0

    def _last_words(self) -> str:
        return os.pread(self._complaints, 65536, 0).decode(errors="replace").strip()


def connect(endpoint: Endpoint) -> Channel:
    """Errors: `EngineError` with a remedy; for TLS and ssh it comes with the first answer."""
    if endpoint.scheme == "unix":
        return Channel(_unix(endpoint.rest))
    if endpoint.scheme == "ssh":
        return _through(_ssh_line(endpoint.rest))
    if endpoint.tls:
        from envup.namespaces import programs

        here = os.path.dirname(__file__)  # noqa: PTH120
        return _through(programs.program("tlsbridge", *endpoint.arguments(), directory=here))
    try:
        return Channel(tcp(endpoint))
    except OSError as error:
        reason = f"no Docker engine answers at {endpoint}: {error.strerror or error}"
        raise EngineError(0, reason, remedy(endpoint)) from error


def remedy(endpoint: Endpoint) -> str:
    """What to try where an engine on another host does not answer."""
    if endpoint.scheme == "ssh":
        return f"try: {' '.join(_ssh_line(endpoint.rest)[:-2])} version"
    certificates = f"; its certificates are those of {endpoint.certificates}" if endpoint.certificates else ""
    return f"start the engine there, and see that DOCKER_HOST or the Docker context names it rightly{certificates}"


def _unix(path: str) -> _socket.socket:
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        socket.connect(path)
    except OSError as error:
        socket.close()
        raise _refused_socket(path, error) from error
    return socket


def _refused_socket(path: str, error: OSError) -> EngineError:
    if isinstance(error, FileNotFoundError):
        return EngineError(0, f"no Docker engine answers at unix://{path}: there is no such socket", _INSTALL)
    if isinstance(error, PermissionError):
        remedy = (
            "usermod -aG docker USER as root and a new login (its members are as powerful as root), or rootless Docker:"
            " dockerd-rootless-setuptool.sh install"
        )
        return EngineError(0, f"this user is not allowed to use the Docker engine at unix://{path}", remedy)
    reason = "it does not run" if error.errno == errno.ECONNREFUSED else str(error.strerror or error)
    return EngineError(0, f"no Docker engine answers at unix://{path}: {reason}", _START)


def host_and_port(endpoint: Endpoint) -> tuple[str, int]:
    """Of an address `tcp://HOST[:PORT]`; the port is 2376 with TLS and 2375 without it unless given."""
    host, _colon, port = endpoint.rest.rstrip("/").rpartition(":")
    if not host or host.endswith(":") or port.endswith("]"):
        host, port = endpoint.rest.rstrip("/"), ""
    if port and not port.isdigit():
        raise EngineError(0, f"'{endpoint}' has no valid port", "write it as tcp://HOST:2375")
    return host.strip("[]"), int(port or (2376 if endpoint.tls else 2375))


def tcp(endpoint: Endpoint) -> _socket.socket:
    """A connected socket. Errors: `OSError`."""
    host, port = host_and_port(endpoint)
    refusal = OSError(errno.EHOSTUNREACH, "it has no address")
    for family, kind, protocol, _name, address in _socket.getaddrinfo(host, port, 0, _socket.SOCK_STREAM):
        socket = _socket.socket(family, kind, protocol)
        try:
            socket.settimeout(_CONNECT_TIMEOUT)
            socket.connect(address)
        except OSError as error:
            socket.close()
            refusal = error
            continue
        socket.settimeout(None)
        socket.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        return socket
    raise refusal


def _ssh_line(rest: str) -> list[str]:
    """As Docker's own command line reaches an engine over ssh."""
    host, _slash, path = rest.partition("/")
    user, _at, host = host.rpartition("@")
    host, _colon, port = host.partition(":")
    return [
        "ssh", "-T", "-o", "ConnectTimeout=30", *(["-l", user] if user else []), *(["-p", port] if port else []), "--",
        host, "docker", *(["--host", f"unix:///{path}"] if path else []), "system", "dial-stdio",
    ]  # fmt: skip


def _through(line: list[str] | tuple[str, ...]) -> Channel:
    """A channel to a program's standard input and output. No key of the terminal reaches it."""
    import subprocess

    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    complaints = os.memfd_create("complaints")
    try:
        process = subprocess.Popen(
            line, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=complaints, start_new_session=True
        )
    except OSError as error:
        ours.close()
        os.close(complaints)
        raise EngineError(0, f"{line[0]} cannot be run: {error.strerror}", "apt-get install openssh-client") from error
    finally:
        theirs.close()
    return Channel(ours, process, complaints)
