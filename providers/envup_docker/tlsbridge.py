"""Connects its standard input and output, one socket, to an engine behind TLS: `tlsbridge KEY=VALUE…`.

A program of its own, so that whoever talks to an engine has a socket that can be polled and half closed; TLS says the
latter by its closing alert, RFC 8446 section 6.1. Exit code 255, as of ssh(1): there is no connection, or it broke; the
reason is on standard error.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH110

from __future__ import annotations

import os
import select
import socket
import ssl

from envup_docker import endpoint, transports

_CHUNK = 1 << 16


def main(arguments: list[str]) -> int:
    """See the module."""
    where = endpoint.parsed(dict(argument.partition("=")[::2] for argument in arguments))
    try:
        context = _context(where)
        with socket.socket(fileno=transports.tcp(where).detach()) as network:
            _Bridge(context, network, transports.host_and_port(where)[0]).run()
    except ssl.SSLCertVerificationError as error:
        return _complain(f"its certificate is not trusted: {error.verify_message}")
    except ssl.SSLError as error:
        return _complain(f"TLS failed: {(error.reason or str(error)).lower().replace('_', ' ')}")
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        return _complain(named + (error.strerror or str(error)))
    return 0


def _context(where: endpoint.Endpoint) -> ssl.SSLContext:
    """Certificates as Docker lays them out: https://docs.docker.com/engine/security/protect-access/."""
    context = ssl.create_default_context()
    authority, certificate, key = (f"{where.certificates}/{name}.pem" for name in ("ca", "cert", "key"))
    if not where.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif os.path.exists(authority):
        context = ssl.create_default_context(cafile=authority)
    if os.path.exists(certificate):
        context.load_cert_chain(certificate, key)
    return context


class _Bridge:
    """Carries bytes both ways; what one side has not taken is not followed by more."""

    def __init__(self, context: ssl.SSLContext, network: socket.socket, host: str) -> None:
        self._network = network
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._for_network = self._for_user = b""
        self._shaken = self._user_ended = self._network_ended = False

    def run(self) -> None:
        """Until both directions have ended, or the user's has gone."""
        self._network.setblocking(False)
        os.set_blocking(0, False)
        self._advance()
        while not self._network_ended or self._for_user:
            poll = select.poll()
            for descriptor, events in ((self._network.fileno(), self._network_events()), (0, self._user_events())):
                if events:
                    poll.register(descriptor, events)
            for descriptor, event in poll.poll():
                self._serve_user(event) if descriptor == 0 else self._serve_network(event)
            self._advance()

    def _network_events(self) -> int:
        reads = not self._for_user and not self._network_ended
        return (select.POLLIN if reads else 0) | (select.POLLOUT if self._for_network else 0)

    def _user_events(self) -> int:
        reads = self._shaken and not self._for_network and not self._user_ended
        return (select.POLLIN if reads else 0) | (select.POLLOUT if self._for_user else 0)

    def _serve_network(self, event: int) -> None:
        if event & select.POLLOUT:
            self._send()
        if event & ~select.POLLOUT:
            data = self._receive()
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()
                self._network_ended = True

    def _send(self) -> None:
        """An engine that has ended with input left takes no more of it; what it has said can still be read."""
        try:
            sent = self._network.send(self._for_network)
        except ConnectionError:
            if not self._shaken:
                raise
            sent = len(self._for_network)
        self._for_network = self._for_network[sent:]

    def _receive(self) -> bytes:
        try:
            return self._network.recv(_CHUNK)
        except ConnectionResetError:
            if not self._shaken:
                raise
            return b""

    def _serve_user(self, event: int) -> None:
        if event & select.POLLOUT:
            self._for_user = self._for_user[os.write(1, self._for_user) :]
        if event & select.POLLIN:
            data = os.read(0, _CHUNK)
            if data:
                self._tls.write(data)
            else:
                self._user_ended = True
                self._say_end()

    def _say_end(self) -> None:
        self._advance()  # What has come must be read before: the library refuses to say the end otherwise.
        try:
            self._tls.unwrap()
        except ssl.SSLWantReadError:
            return  # The alert is on its way; what the engine still has to say is read all the same.

    def _advance(self) -> None:
        """Let TLS work on what has come, and fetch what it has to say."""
        try:
            if not self._shaken:
                self._tls.do_handshake()
                self._shaken = True
            while data := self._tls.read(_CHUNK):
                self._for_user += data
            self._network_ended = True
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            if not self._shaken:
                raise
            self._network_ended = True
        finally:
            self._for_network += self._outgoing.read()


def _complain(text: str) -> int:
    os.write(2, f"{text}\n".encode())
    return 255
