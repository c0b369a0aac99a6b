"""Sizes, times, ports and mounts: from the text that an Envfile gives to values.

Each raises `ValueError` with what is wrong. The schema has already refused text of another form, so these are quick.
"""

from __future__ import annotations

import posixpath

from envup.model import Port

SIZES = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
SIZES |= {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
TIMES = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def size(text: str) -> int:
    """Bytes; `1KiB` is 1024 of them and `1KB` 1000."""
    number, unit = _split(text)
    if unit not in SIZES:
        raise ValueError(f"'{text}' is not a size with a unit, such as 512MiB or 1GB")
    whole = int(number) * SIZES[unit] if number.isdecimal() else int(float(number) * SIZES[unit])
    if whole <= 0:
        raise ValueError(f"'{text}' is not more than nothing")
    return whole


def duration(text: str) -> float:
    """Seconds."""
    number, unit = _split(text)
    if unit not in TIMES:
        raise ValueError(f"'{text}' is not a time with a unit, such as 500ms, 60s, 5m or 24h")
    seconds = float(number) * TIMES[unit]
    if seconds <= 0:
        raise ValueError(f"'{text}' is not more than nothing")
    return seconds


def _split(text: str) -> tuple[str, str]:
    number = text.rstrip(LETTERS)
    return number.rstrip(), text[len(number) :]


def port(text: str) -> Port:
    """`[address:]host port:machine port[/protocol]`; an IPv6 address stands in brackets."""
    ends, _, protocol = text.partition("/")
    rest, _, machine = ends.rpartition(":")
    address, _, host = rest.rpartition(":")
    if not machine.isdecimal() or not host.isdecimal():
        raise ValueError(f"'{text}' is not [host address:]host port:machine port[/tcp or /udp]")
    if not 1 <= int(machine) <= 65535:
        raise ValueError(f"'{text}': a machine port is a number from 1 to 65535")
    if not 0 <= int(host) <= 65535:
        raise ValueError(f"'{text}': a host port is a number from 0 to 65535")
    return Port(int(machine), int(host), address.strip("[]") or None, protocol or "tcp")


def mount(value: str | dict[str, object]) -> tuple[str, str, bool]:
    """(host path as written, machine path, read only)."""
    if isinstance(value, str):
        source, _, target = value.removesuffix(":ro").partition(":")
        read_only = value.endswith(":ro")
    else:
        source, target, read_only = str(value["from"]), str(value["to"]), bool(value.get("read_only"))
    if not target.startswith("/"):
        raise ValueError(f"'{target}' is not an absolute path in the machine")
    if ".." in target.split("/"):
        raise ValueError(f"'{target}' must not contain '..'")
    normal = "/" + posixpath.normpath(target).strip("/")
    if normal == "/":
        raise ValueError("a mount cannot cover the whole machine: '/' is not a target")
    return source, normal, read_only
