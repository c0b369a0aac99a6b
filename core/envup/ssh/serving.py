"""The server: one connection over the standard streams, for who has the environment's key."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Awaitable, Callable
from functools import partial

import asyncssh

from envup.errors import EnvupError
from envup.project import Located
from envup.provider import dialler
from envup.ssh.carrying import Forwarded
from envup.ssh.keys import Keys
from envup.ssh.sessions import Session

_PIECE = 1 << 20
_PACKET = 1 << 17
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def serve(located: Located, keys: Keys) -> int:
    """Serve the client on the other side of standard input and output until it goes. Errors: `EnvupError`."""
    ours, theirs = socket.socketpair()
    threads = [
        threading.Thread(target=_carry, args=(*ends, end), daemon=True)
        for ends, end in (
            ((0, theirs.fileno()), partial(theirs.shutdown, socket.SHUT_WR)),
            ((theirs.fileno(), 1), partial(os.close, 1)),
        )
    ]
    for thread in threads:
        thread.start()
    asyncio.run(_serve(ours, located, keys))
    threads[1].join()
    return 0


async def _serve(connection: socket.socket, located: Located, keys: Keys) -> None:
    made = await asyncssh.run_server(
        connection,
        server_factory=lambda: _Server(located),
        server_host_keys=[str(keys.host_key)],
        authorized_client_keys=f"{keys.key}.pub",
        password_auth=False,
        kbdint_auth=False,
        agent_forwarding=False,
        x11_forwarding=False,
        max_pktsize=_PACKET,
        encoding=None,
        line_editor=False,
    )
    await made.wait_closed()
    waiting = asyncio.all_tasks() - {asyncio.current_task()}
    if waiting:
        await asyncio.wait(waiting)


class _Server(asyncssh.SSHServer):
    def __init__(self, located: Located) -> None:
        self._located, self._user = located, located.user

    def begin_auth(self, username: str) -> bool:
        self._user = username
        return True

    def session_requested(self) -> Session:
        return Session(self._located, self._user)

    def connection_requested(
        self, dest_host: str, dest_port: int, _host: str, _port: int
    ) -> Awaitable[asyncssh.SSHTCPSession[bytes]]:
        """Ports of the machine alone, under any name that it has."""
        if dest_host not in (*_LOOPBACK, self._located.name):
            reason = f"only the machine's own ports are reached: say localhost, not {dest_host}"
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, reason)
        return self._reached(dest_port)

    async def _reached(self, port: int) -> asyncssh.SSHTCPSession[bytes]:
        located = self._located
        within = await asyncio.to_thread(dialler, located.provider, located.instance)
        if within is None:
            reason = f"provider {located.provider.name} cannot reach ports of this machine from the inside"
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, reason)
        try:
            made = await asyncio.to_thread(within.dial, located.instance, port)
        except (OSError, EnvupError) as error:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, str(error)) from error
        made.setblocking(False)
        return Forwarded(*await asyncio.open_connection(sock=made))


def _carry(source: int, sink: int, end: Callable[[], None]) -> None:
    """Move all bytes, and tell their end."""
    with contextlib.suppress(OSError):
        while data := os.read(source, _PIECE):
            left = memoryview(data)
            while left:
                left = left[os.write(sink, left) :]
    with contextlib.suppress(OSError):
        end()
