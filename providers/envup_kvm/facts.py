"""What a machine is told when it boots: its name, its network, its variables. Read by `boot` and `children`."""

from __future__ import annotations

from typing import Any

from envup.provider import MachineSpec, options_of
from envup_kvm import shares

_ADDRESS, _GATEWAY, _RESOLVER = "10.0.2.15/24", "10.0.2.2", "10.0.2.3"
"""What libvirt's user-mode network gives its only machine."""
_NETWORK = f"""\
ip link set lo up
ip link set eth0 up
ip address add {_ADDRESS} dev eth0
ip route add default via {_GATEWAY}
"""


def of(spec: MachineSpec, *, first: bool) -> dict[str, Any]:
    """They, as JSON. `first`: it never ran before."""
    hostname = spec.hostname or spec.name
    return {
        "hostname": hostname,
        "addresses": [("127.0.1.1", name) for name in dict.fromkeys((spec.name, hostname))],
        "resolver": f"nameserver {_RESOLVER}\n",
        "network": _NETWORK,
        "environment": dict(spec.environment),
        "init": options_of(spec, "kvm").get("init", "auto"),
        "first": first,
        "mounts": [(mount.target, mount.read_only) for mount in shares.ordered(spec)],
    }
