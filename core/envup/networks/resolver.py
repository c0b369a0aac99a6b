"""The text of a machine's /etc/resolv.conf."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

from envup.networks import network
from envup.networks.network import Network

_HOST = Path("/etc/resolv.conf")


def text(wanted: Network) -> str | None:
    """What it says on this network; None leaves the machine's alone. Errors: `OSError`."""
    host = _HOST.read_text(encoding="utf-8", errors="replace") if _HOST.exists() else ""
    if wanted.kind == "none":
        return None
    if wanted.kind == "host":
        return host
    lines = [line for line in host.splitlines() if line.startswith(("search", "domain", "options"))]
    return "\n".join([*(f"nameserver {server}" for server in _servers(wanted, host)), *lines, ""])


def _servers(wanted: Network, host: str) -> list[str]:
    """slirp4netns(1) asks the host's, wherever they are. From a bridge those on the host's loopback cannot be seen."""
    if wanted.kind == "private":
        return [str(network.RESOLVER)]
    own = network.interface(wanted).ip
    fields = [line.split() for line in host.splitlines()]
    known = [entry[1] for entry in fields if len(entry) > 1 and entry[0] == "nameserver"]
    outside = [server for server in known if not ip_address(server.partition("%")[0]).is_loopback]
    return [str(own), *outside] if _answers(own.packed) else outside


def _answers(address: bytes) -> bool:
    """Whether a resolver, such as dnsmasq(8), listens at an address of the host."""
    wanted = {f"{int.from_bytes(each, 'little'):08X}:0035" for each in (address, bytes(4))}
    lines = Path("/proc/net/udp").read_text(encoding="ascii").splitlines()[1:]
    return any(line.split()[1] in wanted for line in lines)
