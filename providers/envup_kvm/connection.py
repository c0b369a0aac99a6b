"""The connection to libvirt: its errors as `EnvupError`, its events, nothing printed."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from envup.errors import EnvupError
from envup.provider import MachineSpec, options_of
from envup_kvm.binding import libvirt

SYSTEM, SESSION = "qemu:///system", "qemu:///session"
_HINTS = {
    SYSTEM: "start libvirt: systemctl start libvirtd, or scripts/backends in a checkout",
    SESSION: "install libvirt's daemon: apt-get install libvirt-daemon libvirt-daemon-driver-qemu",
}
_loop_started = threading.Lock()
_loop: list[threading.Thread] = []


def default() -> str:
    """The driver of this user's machines where an Envfile names none."""
    return SYSTEM if os.geteuid() == 0 else SESSION


def of(spec: MachineSpec) -> str:
    """The driver of a machine, as its Envfile names it; https://libvirt.org/uri.html."""
    return str(options_of(spec, "kvm").get("uri", default()))


def is_apart(uri: str) -> bool:
    """Whether the machines there have nothing of this account's files and sockets here: those of another host, and
    those of root's libvirt where an ordinary account uses it."""
    parts = urlsplit(uri)
    return parts.hostname is not None or (parts.path == "/system" and os.geteuid() != 0)


def connect(uri: str) -> Any:
    """A new connection, whose events somebody must turn the loop for. Errors: `EnvupError`."""
    libvirt.registerErrorHandler(_ignore, None)
    try:
        return libvirt.open(uri)
    except libvirt.libvirtError as error:
        raise EnvupError(f"libvirt does not answer at {uri}", details=said(error), hint=_hint(uri)) from error


def _hint(uri: str) -> str:
    return _HINTS.get(uri, f"try: virsh -c '{uri}' uri")


class Connections:
    """One connection to each driver that is asked for, with a loop for their events."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}
        self._making = threading.Lock()

    def at(self, uri: str) -> Any:
        """The connection. Errors: `EnvupError`."""
        with self._making:
            if uri not in self._made or not self._made[uri].isAlive():
                _start_loop()
                self._made[uri] = connect(uri)
            return self._made[uri]


def said(error: libvirt.libvirtError) -> str:
    """What libvirt complains of."""
    return str(error.get_error_message() or error)


@contextlib.contextmanager
def telling(brief: str) -> Iterator[None]:
    """Errors of libvirt become an `EnvupError` that begins with `brief`."""
    try:
        yield
    except libvirt.libvirtError as error:
        raise EnvupError(brief, details=said(error)) from error


class Ending:
    """Waits for the end of a domain; made before what ends it is begun."""

    def __init__(self, connection: Any, domain: Any) -> None:
        self._connection, self._ended = connection, threading.Event()
        kind = libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE
        self._callback = connection.domainEventRegisterAny(domain, kind, self._note, None)

    def _note(self, _connection: Any, _domain: Any, event: int, _detail: int, _opaque: Any) -> None:
        if event in (libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_UNDEFINED):
            self._ended.set()

    def wait(self, seconds: float) -> bool:
        """Whether it ended in time."""
        return self._ended.wait(seconds)

    def close(self) -> None:
        """Listen no more."""
        self._connection.domainEventDeregisterAny(self._callback)


def _ignore(_context: Any, _error: Any) -> None:
    """libvirt prints errors unless somebody takes them; each is an exception as well."""


def _start_loop() -> None:
    """Events come by a loop that must be there before the connection."""
    with _loop_started:
        if not _loop:
            libvirt.virEventRegisterDefaultImpl()
            _loop.append(threading.Thread(target=_turn, name="libvirt events", daemon=True))
            _loop[0].start()


def _turn() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()
