"""Connects to a port in a machine's own network and hands the connection to the caller: `dial KEY=VALUE… -- DESCRIPTOR
SECONDS PORT ADDRESS…`, see `joining.Way`.

Over DESCRIPTOR, a Unix socket, goes the connection to the first ADDRESS that takes it (SCM_RIGHTS, unix(7)), or the
number of the error that the first one gave, as text.
"""

from __future__ import annotations

import _socket
import array
import errno
import sys

from envup.namespaces import joining

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: list[str]) -> int:
    """Exit code 0 when the caller was answered, else 1 with the reason on standard error."""
    way = joining.Way(arguments)
    descriptor, seconds, port, *addresses = way.rest
    caller = _socket.socket(fileno=int(descriptor))
    try:
        if way.values["namespaces"]:
            way.join(processes=False)
        _answer(caller, _connect(addresses, int(port), float(seconds)))
    except (joining.NotRunning, ProcessLookupError):
        return _complain("the machine is not running")
    except OSError as error:
        return _complain(f"the machine's network cannot be entered: {error}")
    return 0


def _answer(caller: _socket.socket, result: _socket.socket | int) -> None:
    if isinstance(result, int):
        caller.sendall(b"%d" % result)
    else:
        caller.sendmsg([b"0"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", [result.fileno()]))])


def _connect(addresses: Sequence[str], port: int, seconds: float) -> _socket.socket | int:
    """A connection, or an error's number."""
    refusals = []
    for address in addresses:
        family = _socket.AF_INET6 if ":" in address else _socket.AF_INET
        try:
            connection = _socket.socket(family, _socket.SOCK_STREAM)
        except OSError as error:
            refusals.append(error.errno or errno.EAFNOSUPPORT)
            continue
        connection.settimeout(seconds)
        try:
            connection.connect((address, port))
        except OSError as error:
            refusals.append(error.errno or errno.ETIMEDOUT)
            connection.close()
        else:
            return connection
    return refusals[0]


def _complain(message: str) -> int:
    sys.stderr.write(f"{message}\n")
    return 1
