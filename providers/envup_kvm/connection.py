"""The connection to libvirt: its errors as `EnvupError`, its events, nothing printed."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

import libvirt

from envup.errors import EnvupError

SYSTEM, SESSION = "qemu:///system", "qemu:///session"
_HINTS = {
    SYSTEM: "start libvirt: systemctl start libvirtd, or scripts/backends in a checkout",
    SESSION: "install libvirt's daemon: apt-get install libvirt-daemon libvirt-daemon-driver-qemu",
}
_loop_started = threading.Lock()
_loop: list[threading.Thread] = []


def uri() -> str:
    """The driver of this user's machines."""
    return SYSTEM if os.geteuid() == 0 else SESSION


def connect() -> Any:
    """A new connection. Errors: `EnvupError`."""
    libvirt.registerErrorHandler(_ignore, None)
    _start_loop()
    where = uri()
    try:
        return libvirt.open(where)
    except libvirt.libvirtError as error:
        raise EnvupError(f"libvirt does not answer at {where}", details=said(error), hint=_HINTS[where]) from error


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
