"""OpenSSH's way to the machine: `proxy SOCKET` connects to a Unix socket and hands the connection over on standard
output, see ssh_config(5) under ProxyUseFdpass."""

from __future__ import annotations

import os
import socket


def main(arguments: list[str]) -> int:
    """Exit code 0, or 1 with the reason on standard error."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(arguments[0])
        taker = socket.socket(fileno=os.dup(1))
        socket.send_fds(taker, [b"\0"], [connection.fileno()])
    except OSError as error:
        os.write(2, f"envup: boot: {arguments[0]}: {error.strerror}\n".encode())
        return 1
    return 0
