"""OpenSSH's way to a machine that is apart: `python -P -m envup_kvm.remote_proxy URI DOMAIN PORT` carries between its
standard streams and a virtio-serial port, through libvirt's own connection."""

from __future__ import annotations

import os
import sys
from typing import Any

from envup.errors import EnvupError
from envup_kvm import connection
from envup_kvm.binding import libvirt

_CHUNK = 1 << 16
_NOTHING_YET = -2
"""What libvirt answers where a stream would block."""


def main(arguments: list[str]) -> int:
    """Exit code 0 at the end of either side, 1 with the reason on standard error."""
    where, domain, port = arguments
    try:
        libvirt.virEventRegisterDefaultImpl()
        libvirtd = connection.connect(where)
        with connection.telling(f"{domain} is not reached"):
            stream = libvirtd.newStream(libvirt.VIR_STREAM_NONBLOCK)
            libvirtd.lookupByName(domain).openChannel(port, stream, libvirt.VIR_DOMAIN_CHANNEL_FORCE)
            _Relay(stream).run()
    except EnvupError as error:
        os.write(2, f"envup: boot: {error.brief}: {error.details}\n".encode())
        return 1
    return 0


class _Relay:
    """Carries until one side ends. What the stream does not take yet holds the reading of standard input up."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._unsent, self._ended = stream, b"", False
        stream.eventAddCallback(_events(writing=False), self._on_stream, None)
        self._input = libvirt.virEventAddHandle(0, libvirt.VIR_EVENT_HANDLE_READABLE, self._on_input, None)

    def run(self) -> None:
        """Errors: `libvirt.libvirtError`."""
        while not self._ended:
            libvirt.virEventRunDefaultImpl()

    def _on_input(self, _watch: int, _descriptor: int, _events: int, _opaque: None) -> None:
        self._unsent = os.read(0, _CHUNK)
        if self._unsent:
            self._send()
        else:
            self._ended = True

    def _on_stream(self, _stream: Any, events: int, _opaque: None) -> None:
        if events & libvirt.VIR_STREAM_EVENT_WRITABLE:
            self._send()
        if events & libvirt.VIR_STREAM_EVENT_READABLE:
            self._receive()
        if events & (libvirt.VIR_STREAM_EVENT_ERROR | libvirt.VIR_STREAM_EVENT_HANGUP):
            self._ended = True

    def _send(self) -> None:
        sent = self._stream.send(self._unsent) if self._unsent else 0
        if sent != _NOTHING_YET:
            self._unsent = self._unsent[sent:]
        reading = 0 if self._unsent else libvirt.VIR_EVENT_HANDLE_READABLE
        libvirt.virEventUpdateHandle(self._input, reading)
        self._stream.eventUpdateCallback(_events(writing=bool(self._unsent)))

    def _receive(self) -> None:
        data = self._stream.recv(_CHUNK)
        if data == b"":
            self._ended = True
        elif data != _NOTHING_YET:
            view = memoryview(data)
            while view:
                view = view[os.write(1, view) :]


def _events(*, writing: bool) -> int:
    wanted = libvirt.VIR_STREAM_EVENT_READABLE | libvirt.VIR_STREAM_EVENT_ERROR | libvirt.VIR_STREAM_EVENT_HANGUP
    return int(wanted | (libvirt.VIR_STREAM_EVENT_WRITABLE if writing else 0))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
