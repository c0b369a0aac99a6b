"""The network of a machine, seen from the host: what it is told, how QEMU is plugged in, and what is known of it later.

The network is that of `envup.networks`, with a card for each machine (see `nic`). On a host that libvirt is only
connected to there is no keeper: QEMU's own user-mode network takes such a machine out, and nothing in.
"""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH120

from __future__ import annotations

import _socket
import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree as xml

from envup.namespaces import records
from envup.networks import addresses, bridge, client, network, resolver
from envup.networks.addresses import Place
from envup.provider import MachineSpec, Port, options_of
from envup_kvm import connection, owners
from envup_kvm.machines import Machine

NAME = "kvm"
SOCKET = "net"
"""Where QEMU connects, below a machine's place."""
NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"
_SLOT = "0x10"
"""Of the root bus, behind those that libvirt gives to what it knows."""
_USER_MTU = 1500
"""QEMU's own network cuts what is larger into pieces."""
_UNMANAGED = "[Match]\\nName=eth0\\n[Link]\\nUnmanaged=yes\\n"
"""For systemd-networkd: the interface has its address already."""

xml.register_namespace("qemu", NAMESPACE)


class Keeper(client.Keeper):
    """A connection to the keeper of an environment's virtual machines."""

    provider: ClassVar[str] = NAME
    directory: ClassVar[str] = os.path.dirname(__file__)

    def attach(self, machine: str, bridge: str, listener: _socket.socket) -> None:
        """Make the machine's card a port of a bridge; QEMU is to connect at `listener`. Errors: `EnvupError`."""
        self.ask("claim", machine=machine)
        self.ask("attach", [listener.fileno()], machine=machine, bridge=bridge)

    def await_plugged(self, machine: str) -> None:
        """Return when QEMU has connected. Errors: `EnvupError` where it has not."""
        hint = "libvirt's log of the machine says why; AppArmor may be in the way, see docs/kvm.md"
        self.ask("attached", machine=machine, hint=hint)


def is_near(spec: MachineSpec) -> bool:
    """Whether the machine can be plugged into a network here."""
    return not connection.is_apart(connection.of(spec))


def reasons(spec: MachineSpec, *, rootless: bool) -> Iterator[str]:
    """Why a machine cannot have the network that it asks for, one sentence each, for `check`."""
    wanted = network.of(spec, NAME)
    if wanted.kind == "host":
        yield "kvm.network: a virtual machine cannot be on the host's own network; leave it out, or use provider lxc"
    elif is_near(spec):
        yield from network.reasons(spec, NAME, rootless=rootless)
    else:
        yield from _far(spec, wanted)


def _far(spec: MachineSpec, wanted: network.Network) -> Iterator[str]:
    where = connection.of(spec)
    if spec.ports:
        yield f"ports: machines at {where} are apart, and no port is forwarded to them; leave kvm.uri out"
    if spec.peers:
        yield f"peers: machines at {where} are apart and do not reach each other; leave kvm.uri out"
    if wanted.kind == "bridge":
        yield f"kvm.network: machines at {where} are apart; leave kvm.network out"
    if any(options_of(spec, NAME).get(key) for key in ("address", "host_loopback")):
        yield f"kvm.address, kvm.host_loopback: machines at {where} are apart; leave both out"


def place(machine: Machine, spec: MachineSpec) -> Place:
    """Where the machine is and its peers. Errors: `EnvupError` where no address is left."""
    wanted = network.of(spec, NAME)
    if not is_near(spec) and wanted.kind == "private":
        own = str(network.FIRST)
        return Place(wanted, own, {spec.name: own}, "")
    wish = options_of(spec, NAME).get("address")
    environment = machine.labels["envup.environment"]
    return addresses.allocate(machine.data, environment, spec.name, spec.peers, wanted, address=wish)


def facts(spec: MachineSpec, place: Place) -> dict[str, Any]:
    """What a machine is told of it."""
    hostname = spec.hostname or spec.name
    return {
        "addresses": [(place.address, hostname), *((at, name) for name, at in place.names.items())],
        "resolver": resolver.text(place.network),
        "network": _script(place, is_near=is_near(spec)),
    }


def _script(place: Place, *, is_near: bool) -> str:
    """Lines for BusyBox."""
    lines = ["ip link set lo up"]
    if place.network.kind != "none":
        own, way_out = IPv4Interface(place.interface()), network.gateway(place.network)
        lines += [
            "mkdir -p /run/systemd/network",
            f"printf '{_UNMANAGED}' >/run/systemd/network/05-envup.network",
            f"ip link set eth0 mtu {mtu(place.network) if is_near else _USER_MTU} up",
            f"ip address add {own} broadcast {own.network.broadcast_address} dev eth0",
            f"ip route add default via {way_out}",
        ]
    return "\n".join([*lines, ""])


def mtu(wanted: network.Network) -> int:
    """Bytes of the longest packet on a network of this host."""
    if wanted.kind == "private":
        return bridge.MTU
    return int(Path(f"/sys/class/net/{wanted.bridge}/mtu").read_text(encoding="ascii"))


def card(spec: MachineSpec, place: Place, socket: Path) -> xml.Element | None:
    """The card of a machine, as QEMU's command line has it: libvirt has no word for such a network. None without."""
    if place.network.kind == "none":
        return None
    if not is_near(spec):
        user = xml.Element("interface", type="user")
        xml.SubElement(user, "model", type="virtio")
        return user
    line = xml.Element(f"{{{NAMESPACE}}}commandline")
    for argument in (
        "-netdev",
        f"stream,id=envup,server=off,addr.type=unix,addr.path={str(socket).replace(',', ',,')}",
        "-device",
        f"virtio-net-pci,netdev=envup,mac={place.hardware},bus=pcie.0,addr={_SLOT},romfile=",
    ):
        xml.SubElement(line, f"{{{NAMESPACE}}}arg", value=argument)
    return line


class Joining:
    """A machine that is about to be plugged in. `ports` are settled: forwarded already."""

    def __init__(self, keeper: Keeper | None, machine: Machine, place: Place, ports: tuple[Port, ...]) -> None:
        self._keeper, self._machine, self._place, self._ports = keeper, machine, place, ports

    def offer(self, libvirtd: Any) -> None:
        """Have a card made that QEMU, when it is started, finds at its socket; open to the account that QEMU runs as,
        and nobody else. The record says so from now on. Errors: `EnvupError`, `OSError`."""
        if self._keeper is not None:
            path = self._machine.place / SOCKET
            with contextlib.closing(_socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)) as listener:
                listener.bind(str(path))
                owners.give(path, owners.qemu(libvirtd))
                listener.listen(1)
                where = self._place.network.bridge or bridge.NAME
                self._keeper.attach(self._machine.labels["envup.machine"], where, listener)
        self._record()

    def settle(self) -> None:
        """Return when the card is plugged in and the way out is open. Errors: `EnvupError`."""
        if self._keeper is not None:
            name = self._machine.labels["envup.machine"]
            self._keeper.await_plugged(name)
            self._keeper.settle(name)
            (self._machine.place / SOCKET).unlink(missing_ok=True)

    def _record(self) -> None:
        keeper = (self._keeper.pid, self._keeper.start) if self._keeper is not None else (0, "")
        run = {
            "keeper": keeper[0],
            "keeper_start": keeper[1],
            "network": self._place.network.name,
            "address": self._place.address,
            "ports": [[port.machine_port, port.host_port, port.address, port.protocol] for port in self._ports],
        }
        records.replace(str(self._machine.directory / records.FILE), json.dumps(run))


@contextlib.contextmanager
def joined(machine: Machine, spec: MachineSpec, place: Place) -> Iterator[Joining]:
    """Around the start of a machine, whose ports are forwarded at once. What is not plugged in at the end goes. Errors:
    `EnvupError` when a port is taken."""
    if not is_near(spec) or place.network.kind == "none":
        yield Joining(None, machine, place, ())
        return
    loopback = bool(options_of(spec, NAME).get("host_loopback", False))
    environment = machine.labels["envup.environment"]
    runtime = machine.place.parent
    with Keeper.reach(runtime, environment, network=place.network.name, host_loopback=loopback) as keeper:
        yield Joining(keeper, machine, place, keeper.forward(spec.name, place.address, spec.ports))


def is_lost(run: Mapping[str, Any] | None) -> bool:
    """Whether the network of a machine that runs, by its record, is gone with its keeper."""
    return run is not None and bool(run.get("keeper")) and not records.lives(run["keeper"], run["keeper_start"])


def seen(run: Mapping[str, Any] | None) -> tuple[tuple[Port, ...], tuple[str, ...]]:
    """(ports, addresses) of a machine that runs, as far as the host reaches them."""
    if run is None or not run.get("keeper") or is_lost(run):
        return (), ()
    return tuple(Port(*fields) for fields in run["ports"]), () if run["network"] == "private" else (run["address"],)


def leave(machine: Machine) -> None:
    """Wait, after the end of a machine, until nothing of it is on the network and, if it was the last, nothing of that
    is left. Errors: `EnvupError`."""
    run = machine.recorded()
    if run is not None and run.get("keeper"):
        environment, name = machine.labels["envup.environment"], machine.labels["envup.machine"]
        with Keeper.ending(machine.place.parent, environment, name, network=run["network"]):
            pass


def sweep(machine: Machine) -> None:
    """Remove what killed keepers of the machine's environment left. Errors: `EnvupError`."""
    Keeper.sweep(machine.place.parent, machine.labels["envup.environment"])


def free(machine: Machine) -> None:
    """Forget the addresses of its environment: it is the last machine. Errors: `EnvupError`."""
    addresses.free(machine.data, machine.labels["envup.environment"])
