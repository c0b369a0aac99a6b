"""Questions to a Docker engine over its API, without version in their paths: each engine answers in its own.

The API is described at https://docs.docker.com/reference/api/engine/.
"""

from __future__ import annotations

import errno
import select

from envup_docker import http, plainjson, transports
from envup_docker.failures import LOST, EngineError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from envup_docker.endpoint import Endpoint

__all__ = ["Answer", "Engine", "EngineError", "Hijacked"]

_JSON = {"Content-Type": "application/json"}


class Engine:
    """One engine. Serves several threads; connections are kept and used again."""

    __slots__ = ("_host", "_idle", "endpoint")

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._idle: list[_Connection] = []
        self._host = transports.host_and_port(endpoint)[0] if endpoint.scheme == "tcp" else "docker"

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
        timeout: float | None = None,
    ) -> Any:
        """The decoded JSON answer, None where there is none. `path` begins with `/`; in `query`, mappings and lists
        become JSON and None is left out. `timeout` is in seconds for each wait, None for no limit. Errors:
        `EngineError`."""
        with self.stream(method, path, query=query, body=body, timeout=timeout) as answer:
            text = answer.read()
        try:
            return plainjson.loads(text) if text.strip() else None
        except ValueError as error:
            raise EngineError(0, f"what answers at {self.endpoint} is no Docker engine: {text[:80]!r}") from error

    def stream(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
        content: http.Source | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """A context manager over the answer while it comes. `content` is sent as the body, read to its end. Errors:
        `EngineError`, also for a refusal that comes while `content` is sent."""
        connection = self._connection()
        try:
            connection.channel.socket.settimeout(timeout)
            answer = connection.ask(method, self._target(path, query), self._headers(headers), body, content)
            refusal = _refusal(answer) if answer.status >= 400 else None
        except BaseException as error:
            raise _explained(connection, error, self.endpoint) from error
        with_body = Answer(answer, connection, self._idle)
        if refusal is not None:
            with with_body:
                raise refusal
        return with_body

    def hijack(
        self, method: str, path: str, *, body: object = None, query: Mapping[str, object] | None = None
    ) -> Hijacked:
        """The connection itself, after the engine has turned it into a stream. Errors: `EngineError`."""
        connection = self._connection()
        upgrade = self._headers({"Connection": "Upgrade", "Upgrade": "tcp"})
        try:
            connection.channel.socket.settimeout(None)
            answer = connection.ask(method, self._target(path, query), upgrade, body, None)
            if answer.status not in (101, 200):
                raise _refusal(answer)
        except BaseException as error:
            raise _explained(connection, error, self.endpoint) from error
        return Hijacked(connection)

    def close(self) -> None:
        """Close the connections that are kept; the engine can be used again."""
        while (connection := self._kept()) is not None:
            connection.channel.close()

    __del__ = close

    def _kept(self) -> _Connection | None:
        try:
            return self._idle.pop()
        except IndexError:  # Another thread may have taken the last one.
            return None

    def _connection(self) -> _Connection:
        """One that is kept and that the engine has not closed, or a new one."""
        while (connection := self._kept()) is not None:
            if connection.usable():
                return connection
            connection.channel.close()
        return _Connection(transports.connect(self.endpoint))

    def _target(self, path: str, query: Mapping[str, object] | None) -> str:
        pairs = [f"{name}={http.quoted(_plain(value))}" for name, value in (query or {}).items() if value is not None]
        return f"{path}?{'&'.join(pairs)}" if pairs else path

    def _headers(self, headers: Mapping[str, str] | None) -> dict[str, str]:
        return {"Host": self._host, "User-Agent": "envup", **(headers or {})}


class _Connection:
    __slots__ = ("channel", "reader")

    def __init__(self, channel: transports.Channel) -> None:
        self.channel = channel
        self.reader = http.Reader(channel.socket.recv)

    def usable(self) -> bool:
        """Whether nothing has come on it: an end, or what nobody asked for."""
        poll = select.poll()
        poll.register(self.channel.socket.fileno(), select.POLLIN)
        return not poll.poll(0)

    def ask(
        self, method: str, target: str, headers: dict[str, str], body: object, content: http.Source | None
    ) -> http.Answer:
        """Send a request, and read the head of its answer."""
        if content is not None:
            self._send_content(method, target, headers, content)
        else:
            data = b"" if body is None else plainjson.dumps(body).encode()
            if body is not None:
                headers |= _JSON
            if data or method != "GET":
                headers["Content-Length"] = str(len(data))
            self.channel.socket.sendall(http.request(method, target, headers) + data)
        return http.Answer(self.reader, method)

    def _send_content(self, method: str, target: str, headers: dict[str, str], content: http.Source) -> None:
        head = {"Content-Type": "application/x-tar", **headers, "Transfer-Encoding": "chunked"}
        send = self.channel.socket.sendall
        send(http.request(method, target, head))
        try:
            http.send_chunked(send, content)
        except (BrokenPipeError, ConnectionResetError):
            return  # The engine has answered early; the answer says why.


class Answer:
    """An answer while it comes; leaving the context gives the connection back."""

    __slots__ = ("_answer", "_connection", "_idle", "headers", "status")

    def __init__(self, answer: http.Answer, connection: _Connection, idle: list[_Connection]) -> None:
        self._answer, self._connection, self._idle = answer, connection, idle
        self.status, self.headers = answer.status, answer.headers

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._answer.ended:
            self._idle.append(self._connection)
        else:
            self._connection.channel.close()

    def fileno(self) -> int:
        """The connection's descriptor, to wait on; data may already be buffered."""
        return self._connection.channel.socket.fileno()

    def read(self, most: int = -1) -> bytes:
        """Between one and `most` bytes, all that is left for -1; none at the end. Errors: `EngineError`."""
        try:
            return self._answer.read(most)
        except OSError as error:
            raise _broken(error) from error

    def lines(self) -> Iterator[Any]:
        """The values of a stream of JSON, one a line."""
        rest = b""
        while data := self.read(1 << 16):
            *lines, rest = (rest + data).split(b"\n")
            yield from (plainjson.loads(line) for line in lines if line.strip())
        if rest.strip():
            yield plainjson.loads(rest)


class Hijacked:
    """A connection that has become a stream to a program."""

    __slots__ = ("_connection", "_socket")

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self._socket = connection.channel.socket

    def fileno(self) -> int:
        """The connection's descriptor, to wait on. What came with the head of the answer is not seen by that: `recv`
        once before."""
        return self._socket.fileno()

    def recv(self, most: int) -> bytes:
        """Between one and `most` bytes, none at the end. Errors: `EngineError`."""
        try:
            data = self._connection.reader.some(most)
        except ConnectionResetError:
            return b""  # The end, by an engine with input left that the program did not read.
        except OSError as error:
            raise _broken(error) from error
        if not data and (reason := self._connection.channel.broken()):
            raise EngineError(0, f"the connection to the engine broke: {reason}", LOST)
        return data

    def sendall(self, data: bytes) -> None:
        """Send all of it. Errors: `EngineError`."""
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise _broken(error) from error

    def send(self, data: bytes | memoryview) -> int:
        """Send what can be sent at once; how much that was. Errors: `BlockingIOError` for nothing, `OSError` when
        nobody listens."""
        return self._socket.send(data, transports.MSG_DONTWAIT)

    def half_close(self) -> None:
        """Say that nothing more will be sent; to one that has closed already, too."""
        try:
            self._socket.shutdown(transports.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise _broken(error) from error

    def close(self) -> None:
        """Close both directions."""
        self._connection.channel.close()


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return value if isinstance(value, str) else plainjson.dumps(value)


def _refusal(answer: http.Answer) -> EngineError:
    text = answer.read()
    try:
        message = plainjson.loads(text)["message"]
    except (ValueError, LookupError, TypeError):
        message = text.decode(errors="replace").strip() or f"status {answer.status}"
    plain = "DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH" if "HTTPS server" in message else ""
    return EngineError(answer.status, message, plain and f"the engine wants TLS: set {plain}")


def _explained(connection: _Connection, error: BaseException, endpoint: Endpoint) -> BaseException:
    """The error to raise instead, after closing the connection."""
    complaint = ""
    if isinstance(error, OSError | EngineError) and not isinstance(error, TimeoutError):
        complaint = connection.channel.complaint()
    connection.channel.close()
    if complaint:
        return EngineError(0, f"no Docker engine answers at {endpoint}: {complaint}", transports.remedy(endpoint))
    return _broken(error) if isinstance(error, OSError) else error


def _broken(error: OSError) -> EngineError:
    if isinstance(error, TimeoutError):
        return EngineError(0, "the engine does not answer in time", "see whether dockerd hangs: docker info")
    return EngineError(0, f"the connection to the engine broke: {error.strerror or error}", LOST)
