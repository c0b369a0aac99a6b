"""Which address each machine has, the same at each start, and what follows from it for files inside.

Addresses are kept in `addresses/known.json` of the provider's data: environment, machine, then network and address.
They are freed with the environment's last machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address
from pathlib import Path

from envup.errors import EnvupError
from envup.namespaces import directories, records
from envup.networks import network
from envup.networks.network import Network
from envup.value import Value

_Known = dict[str, dict[str, tuple[str, str]]]

_LOOPBACK = "127.0.0.1"


class Place(Value):
    """Where a machine is. `address` is its own, empty without a network; `names` maps it and every peer that it can
    reach to an address; `hardware` is its Ethernet address, the same at each start: neighbours remember it."""

    network: Network
    address: str
    names: Mapping[str, str]
    hardware: str

    def interface(self) -> str:
        """The address with the length of its network's prefix."""
        private = self.network.kind == "private"
        return f"{self.address}/{(network.PRIVATE if private else network.interface(self.network).network).prefixlen}"


def allocate(
    data: Path, environment: str, name: str, peers: Sequence[str], wanted: Network, *, address: str | None = None
) -> Place:
    """Where a machine and its peers are; who has no address on its network yet is given one. `address` asks for one.
    Errors: `EnvupError` when it is another machine's, or none is left."""
    directory = data / "addresses"
    directory.mkdir(mode=0o700, exist_ok=True)
    with directories.locked(directory):
        known = _read(directory)
        machines = known.setdefault(environment, {})
        _place(known, environment, name, wanted, address)
        for peer in peers:
            if peer not in machines:
                _place(known, environment, peer, wanted, None)
        _write(directory, known)
    names = {each: found for each in (name, *peers) if (found := _seen(machines[each], wanted))}
    digest = hashlib.sha256(f"{environment}.{name}".encode()).hexdigest()
    hardware = ":".join(("02", *(digest[at : at + 2] for at in range(0, 10, 2))))
    return Place(wanted, machines[name][1], names, hardware)


def free(data: Path, environment: str) -> None:
    """Forget the addresses of an environment that has no machine any more. None known is no error."""
    directory = data / "addresses"
    if not directory.exists():
        return
    with directories.locked(directory):
        known = _read(directory)
        if known.pop(environment, None) is not None:
            _write(directory, known)


def _place(known: _Known, environment: str, name: str, wanted: Network, address: str | None) -> None:
    """Give a machine its address in `known`, unless it has a fitting one."""
    machines = known[environment]
    before = machines.get(name)
    if before and before[0] == wanted.name and address in (None, before[1]):
        return
    machines.pop(name, None)
    if wanted.kind in ("none", "host"):
        machines[name] = wanted.name, _LOOPBACK
        return
    taken = _taken(known, environment, wanted)
    if address is not None and address in taken:
        raise EnvupError(f"machine '{name}': address {address} is taken", hint="take another `address`, or none")
    machines[name] = wanted.name, address or _first_free(f"{environment}.{name}", wanted, taken)


def _taken(known: _Known, environment: str, wanted: Network) -> set[str]:
    """Addresses of the network that others have."""
    scopes = [known[environment]] if wanted.kind == "private" else list(known.values())
    ours = {address for scope in scopes for place, address in scope.values() if place == wanted.name}
    return ours if wanted.kind == "private" else ours | set(_seen_on_bridge(wanted.bridge))


def _seen_on_bridge(name: str) -> Iterator[str]:
    """Addresses that the kernel has met on a bridge, and those that dnsmasq has given out there."""
    for line in Path("/proc/net/arp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if fields[-1] == name and fields[2] != "0x0":
            yield fields[0]
    leases = Path(f"/var/lib/misc/dnsmasq.{name}.leases")
    if leases.exists():
        yield from (
            line.split()[2] for line in leases.read_text(encoding="utf-8").splitlines() if len(line.split()) > 2
        )


def _first_free(key: str, wanted: Network, taken: set[str]) -> str:
    """On a host's bridge the search begins anywhere, as there may be users whose addresses nobody knows yet."""
    private = wanted.kind == "private"
    subnet = network.PRIVATE if private else network.interface(wanted).network
    start = (
        int(network.FIRST) - int(subnet.network_address)
        if private
        else int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big")
    )
    for step in range(subnet.num_addresses):
        candidate = IPv4Address(int(subnet.network_address) + (start + step) % subnet.num_addresses)
        if str(candidate) not in taken and network.is_usable(candidate, wanted):
            return str(candidate)
    raise EnvupError(f"the network {wanted.name} has no free address", hint="destroy machines that are not needed")


def _seen(place: tuple[str, str], wanted: Network) -> str:
    """The address of a machine as seen by one on the network `wanted`; empty when it cannot be reached."""
    name, address = place
    if name == wanted.name:
        return address
    return address if network.parse(name).kind == "bridge" and wanted.kind != "none" else ""


def _read(directory: Path) -> _Known:
    known = directories.read(f"{directory}/known.json") or {}
    return {
        environment: {name: (place[0], place[1]) for name, place in machines.items()}
        for environment, machines in known.items()
    }


def _write(directory: Path, known: _Known) -> None:
    """Without any, the file goes: it is to be possible on a full disk that `destroy` is to free."""
    file = directory / "known.json"
    some = {key: machines for key, machines in known.items() if machines}
    try:
        if some:
            records.replace(str(file), json.dumps(some))
        else:
            file.unlink(missing_ok=True)
    except OSError as error:
        raise EnvupError(f"cannot write {file}: {error.strerror}") from error
