"""The bridge of an environment, made with the ioctls of netdevice(7) and linux/sockios.h in the caller's network
namespace."""

from __future__ import annotations

import _socket
import fcntl
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "br0"
ADDRESS, MASK = "10.0.2.1", "255.255.255.0"
"""The keeper's own in the network that slirp4netns(1) gives."""
MTU = 65520
"""What slirp4netns(1) recommends: its work is per packet."""

_HARDWARE = bytes.fromhex("02000a000201")
"""Without one of its own a bridge takes that of a port, another each time that ports come and go."""

_ADD_BRIDGE, _ADD_PORT = 0x89A0, 0x89A2
_SET_FLAGS, _SET_ADDRESS, _SET_MASK, _GET_MTU, _SET_MTU, _SET_HARDWARE, _GET_INDEX = (
    0x8914,
    0x8916,
    0x891C,
    0x8921,
    0x8922,
    0x8924,
    0x8933,
)
_UP, _ETHERNET = 1, 1


def make() -> None:
    """Make it, with the loopback up. Errors: `OSError`."""
    up = _UP.to_bytes(2, sys.byteorder)
    with _Control() as ask:
        ask("lo", _SET_FLAGS, up)
        ask("", _ADD_BRIDGE, b"", NAME.encode() + b"\0")
        ask(NAME, _SET_HARDWARE, _ETHERNET.to_bytes(2, sys.byteorder) + _HARDWARE)
        ask(NAME, _SET_MTU, MTU.to_bytes(4, sys.byteorder))
        ask(NAME, _SET_ADDRESS, _address(ADDRESS))
        ask(NAME, _SET_MASK, _address(MASK))
        ask(NAME, _SET_FLAGS, up)


def add(port: str, bridge: str = NAME) -> None:
    """Make an interface a port of the bridge, or of another, with the largest packets that go over that, and bring it
    up. Errors: `OSError`."""
    with _Control() as ask:
        index = ask(port, _GET_INDEX)[16:20]
        ask(port, _SET_MTU, ask(bridge, _GET_MTU)[16:20])
        ask(bridge, _ADD_PORT, index)
        ask(port, _SET_FLAGS, _UP.to_bytes(2, sys.byteorder))


def has(port: str) -> bool:
    """Whether there is an interface of that name."""
    return port in (name for _index, name in _socket.if_nameindex())


class _Control:
    """A socket to send ioctls to."""

    __slots__ = ("_socket",)

    def __enter__(self) -> Callable[..., bytes]:
        self._socket = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
        return self._ask

    def __exit__(self, *_error: object) -> None:
        self._socket.close()

    def _ask(self, interface: str, request: int, value: bytes = b"", packed: bytes = b"") -> bytes:
        """One ioctl, with a struct ifreq (16 bytes of name, then the value) unless `packed` is given."""
        packed = packed or (interface.encode().ljust(16, b"\0") + value).ljust(40, b"\0")
        try:
            return fcntl.ioctl(self._socket.fileno(), request, packed)
        except OSError as error:
            raise OSError(error.errno, f"{interface or 'bridge'}: {os.strerror(error.errno or 0)}") from error


def _address(text: str) -> bytes:
    """struct sockaddr_in."""
    return int(_socket.AF_INET).to_bytes(2, sys.byteorder) + bytes(2) + _socket.inet_aton(text)
