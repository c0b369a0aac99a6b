"""The keys under `lxc:` of a machine, checked by options.schema.json, with their defaults."""

from __future__ import annotations

from envup.namespaces import capabilities
from envup.provider import MachineSpec, options_of

NAME = "lxc"
_ALWAYS_DROPPED = ("MAC_ADMIN", "MAC_OVERRIDE", "SYS_TIME", "SYS_MODULE", "SYS_RAWIO")
"""What LXC's own common.conf takes from every container: they act on the host or not at all."""


def init(spec: MachineSpec) -> str:
    """`auto`, `image` or `small`."""
    return str(options_of(spec, NAME).get("init", "auto"))


def boot_timeout(spec: MachineSpec) -> float:
    """Seconds."""
    return float(options_of(spec, NAME).get("boot_timeout", 90))


def address(spec: MachineSpec) -> str | None:
    """The address that it asks for."""
    given = options_of(spec, NAME).get("address")
    return None if given is None else str(given)


def host_loopback(spec: MachineSpec) -> bool:
    """Whether the host's loopback is reached."""
    return bool(options_of(spec, NAME).get("host_loopback", False))


def dropped(spec: MachineSpec) -> list[str]:
    """Names of the capabilities that no program of the machine has."""
    return [*_ALWAYS_DROPPED, *options_of(spec, NAME).get("cap_drop", ())]


def kept(spec: MachineSpec) -> int:
    """The mask of those that it may have."""
    numbers = {name: number for number, name in enumerate(capabilities.NAMES)}
    return (1 << len(numbers)) - 1 - sum(1 << numbers[name] for name in set(dropped(spec)))
