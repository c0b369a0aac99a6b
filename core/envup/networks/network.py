"""The networks that a machine can be part of, and what each needs of the host.

private     the default: a network of the environment, whose way out is slirp4netns(1)
none        nothing but a loopback
host        the host's own
BRIDGE      a bridge of the host, such as lxcbr0; needs root
"""

from __future__ import annotations

import _socket  # socket costs a millisecond more
import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

from envup.provider import Check, MachineSpec, options_of
from envup.value import Value

PRIVATE = IPv4Network("10.0.2.0/24")
GATEWAY, RESOLVER, FIRST = (PRIVATE.network_address + last for last in (2, 3, 15))
"""Of the private network, after slirp4netns(1); `FIRST` is that of the first machine."""

_TUN = "/dev/net/tun"
_KINDS = ("private", "none", "host")
_GET_ADDRESS, _GET_MASK = 0x8915, 0x891B


class Network(Value):
    """One network. `kind` is `private`, `none`, `host` or `bridge`; `bridge` names the last one's interface."""

    kind: str = "private"
    bridge: str = ""

    @property
    def name(self) -> str:
        """As an Envfile gives it."""
        return self.bridge or self.kind


def parse(text: str) -> Network:
    """The network that the option `network` names."""
    return Network(text) if text in _KINDS else Network("bridge", text)


def of(spec: MachineSpec, provider: str) -> Network:
    """The network of a machine."""
    return parse(options_of(spec, provider).get("network", "private"))


def interface(network: Network) -> IPv4Interface:
    """A bridge's own address with its subnet. Errors: `OSError` when it has none or does not exist."""
    with contextlib.closing(_socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)) as control:
        request = network.bridge.encode().ljust(40, b"\0")
        answers = [fcntl.ioctl(control.fileno(), kind, request)[20:24] for kind in (_GET_ADDRESS, _GET_MASK)]
    return IPv4Interface("/".join(map(_socket.inet_ntoa, answers)))


def gateway(network: Network) -> IPv4Address:
    """Where the way out of a network is. Errors: `OSError` as `interface`."""
    return GATEWAY if network.kind == "private" else interface(network).ip


def needs() -> Iterator[Check]:
    """What the private network needs of this host."""
    found = shutil.which("slirp4netns") is not None
    yield _check("slirp4netns", found, "the program slirp4netns is missing", "apt-get install slirp4netns")
    if not Path(_TUN).exists():
        yield _check("tun", False, f"{_TUN} is missing", "run as root: modprobe tun")
    else:
        usable = os.access(_TUN, os.R_OK | os.W_OK)
        yield _check("tun", usable, f"{_TUN} is closed to this user", f"run as root: chmod 0666 {_TUN}")


def _check(name: str, ok: bool, message: str, remedy: str) -> Check:
    return Check(name, True) if ok else Check(name, False, message, remedy)


def reasons(spec: MachineSpec, provider: str, *, rootless: bool) -> Iterator[str]:
    """Why a machine cannot have the network that it asks for, one sentence each, for `check`."""
    network, key = of(spec, provider), f"{provider}.network"
    if network.kind == "private":
        yield from (f"{key}: {need.message}; {need.remedy}" for need in needs() if not need.ok)
    if network.kind == "bridge":
        yield from (f"{key}: {reason}" for reason in _bridge(network.bridge, rootless=rootless))
    if network.kind in ("none", "host"):
        yield from _ports(spec, network, key)
    yield from (f"{provider}.{reason}" for reason in _options(options_of(spec, provider), network, key))


def _bridge(name: str, *, rootless: bool) -> Iterator[str]:
    if rootless:
        yield f"a bridge of the host, {name}, needs root; leave it out for a network of the environment"
    else:
        yield from bridge_reasons(name)


def bridge_reasons(name: str) -> Iterator[str]:
    """Why machines cannot be on a bridge of the host, with the remedy."""
    if not Path(f"/sys/class/net/{name}").exists():
        start = "systemctl start lxc-net, or /usr/libexec/lxc/lxc-net start" if name == "lxcbr0" else ""
        yield f"the host has no bridge {name}; run: {start or f'ip link add {name} type bridge'}"
    elif not Path(f"/sys/class/net/{name}/bridge").exists():
        yield f"{name} is no bridge; `ip link show type bridge` lists those of the host"
    else:
        try:
            interface(Network("bridge", name))
        except OSError:
            yield f"{name} has no IPv4 address; run: ip address add ADDRESS/PREFIX dev {name}"


def _ports(spec: MachineSpec, network: Network, key: str) -> Iterator[str]:
    for port in spec.ports:
        shown = f"{port.address or ''}{':' if port.address else ''}{port.host_port}:{port.machine_port}/{port.protocol}"
        if network.kind == "none":
            yield f"ports: {shown}: with {key}: none the machine cannot be reached"
        elif port.host_port != port.machine_port or port.address is not None:
            yield f"ports: {shown}: with {key}: host ports cannot be remapped; leave {key} out"


def _options(options: Mapping[str, Any], network: Network, key: str) -> Iterator[str]:
    if options.get("host_loopback") and network.kind != "private":
        yield "host_loopback: it is for the private network alone"
    if (address := options.get("address")) is None:
        return
    if network.kind not in ("private", "bridge"):
        yield f"address: a machine with {key}: {network.name} has no address of its own"
        return
    try:
        if not is_usable(IPv4Address(address), network):
            yield f"address: {address} is not for machines of the network {network.name}"
    except ValueError:
        yield f"address: {address} is not an IPv4 address"
    except OSError:
        return  # `_bridge` tells


def is_usable(address: IPv4Address, network: Network) -> bool:
    """Whether a machine of the network may have this address. Errors: `OSError`."""
    if network.kind == "private":
        return FIRST <= address < PRIVATE.broadcast_address
    own = interface(network)
    subnet = own.network
    return address in subnet and address not in (own.ip, subnet.network_address, subnet.broadcast_address)
