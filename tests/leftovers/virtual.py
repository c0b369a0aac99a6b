"""What is left in libvirt: domains, and files that it keeps for them or that are in its storage; its logs apart."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt


def _uri() -> str:
    return "qemu:///system" if os.geteuid() == 0 else "qemu:///session"


def _places() -> list[Path]:
    """Where libvirt's daemon of this user keeps things: https://libvirt.org/daemons.html."""
    if os.geteuid() == 0:
        return [Path("/var/lib/libvirt"), Path("/run/libvirt"), Path("/etc/libvirt")]
    names = {"XDG_CONFIG_HOME": ".config", "XDG_CACHE_HOME": ".cache", "XDG_DATA_HOME": ".local/share"}
    places = [Path(os.environ.get(name) or Path.home() / usual) / "libvirt" for name, usual in names.items()]
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return [*places, *([Path(runtime) / "libvirt"] if runtime else [])]


@contextlib.contextmanager
def _asked() -> Iterator[Any]:
    libvirt.registerErrorHandler(lambda _context, _error: None, None)  # each is an exception as well
    connection = libvirt.open(_uri())
    try:
        yield connection
    finally:
        connection.close()


def domains(home: Path, environment: str) -> list[str]:
    """Those whose name is of the environment, or whose description names the home."""
    found = []
    with _asked() as ask:
        for domain in ask.listAllDomains():
            with _gone_is_fine():
                named = environment and domain.name().startswith(f"envup-{environment}-")
                if named or f"{home}/" in domain.XMLDesc():
                    found.append(f"{domain.name()}: {'active' if domain.isActive() else 'defined'}")
    return found


def files(environment: str) -> list[str]:
    """Those that have the environment in their name; volumes among them."""
    if not environment:
        return []
    walked = [(top, name) for place in _places() for top, *kinds in os.walk(place) for kind in kinds for name in kind]
    return [f"{top}/{name}" for top, name in walked if environment in name and not name.endswith(".log")]


def nameless() -> set[str]:
    """What is kept by the number of a domain that is not there any more: the state of its TPM."""
    kept = {path.name: path for place in _places() for path in place.glob("**/swtpm/*-*-*-*-*")}
    if not kept:
        return set()
    with _asked() as ask:
        known = {domain.UUIDString() for domain in ask.listAllDomains()}
    return {str(path) for number, path in kept.items() if number not in known}


@contextlib.contextmanager
def _gone_is_fine() -> Iterator[None]:
    try:
        yield
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
