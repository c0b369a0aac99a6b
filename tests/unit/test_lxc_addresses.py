"""Which addresses LXC machines get, and what a `network` option may ask for."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import factory
import pytest

from envup.errors import EnvupError
from envup.networks import addresses, network, resolver
from envup.networks.network import Network
from envup.provider import Port
from envup_lxc import config

PRIVATE, HOST, NONE = Network(), Network("host"), Network("none")


def _reasons(*, rootless: bool = False, ports: tuple[Port, ...] = (), **options: Any) -> list[str]:
    spec = factory.machine("web", ports=ports, options={"lxc": options})
    return list(network.reasons(spec, "lxc", rootless=rootless))


def test_machines_get_addresses_one_after_the_other_and_keep_them(tmp_path: Path) -> None:
    web = addresses.allocate(tmp_path, "e1", "web", ["db"], PRIVATE)
    db = addresses.allocate(tmp_path, "e1", "db", ["web", "late"], PRIVATE)
    assert (web.address, web.names) == ("10.0.2.15", {"web": "10.0.2.15", "db": "10.0.2.16"})
    assert (db.address, db.names["late"]) == ("10.0.2.16", "10.0.2.17")


def test_environments_know_nothing_of_each_other(tmp_path: Path) -> None:
    assert addresses.allocate(tmp_path, "e1", "web", [], PRIVATE).address == "10.0.2.15"
    assert addresses.allocate(tmp_path, "e2", "api", [], PRIVATE).address == "10.0.2.15"


def test_an_environment_that_is_gone_frees_its_addresses(tmp_path: Path) -> None:
    addresses.free(tmp_path, "e1")
    addresses.allocate(tmp_path, "e1", "web", [], PRIVATE)
    addresses.free(tmp_path, "e1")
    addresses.free(tmp_path, "e1")
    assert addresses.allocate(tmp_path, "e1", "db", [], PRIVATE).address == "10.0.2.15"


def test_a_wanted_address_is_given_and_to_one_machine_alone(tmp_path: Path) -> None:
    assert addresses.allocate(tmp_path, "e1", "web", [], PRIVATE, address="10.0.2.50").address == "10.0.2.50"
    with pytest.raises(EnvupError, match=r"machine 'db': address 10\.0\.2\.50 is taken"):
        addresses.allocate(tmp_path, "e1", "db", [], PRIVATE, address="10.0.2.50")


def test_a_changed_wish_moves_the_machine(tmp_path: Path) -> None:
    addresses.allocate(tmp_path, "e1", "web", [], PRIVATE)
    assert addresses.allocate(tmp_path, "e1", "web", [], PRIVATE, address="10.0.2.50").address == "10.0.2.50"
    assert addresses.allocate(tmp_path, "e1", "web", [], HOST).address == "127.0.0.1"


def test_a_full_network_is_told(tmp_path: Path) -> None:
    addresses.allocate(tmp_path, "e1", "web", [f"m{number}" for number in range(239)], PRIVATE)
    with pytest.raises(EnvupError, match="the network private has no free address"):
        addresses.allocate(tmp_path, "e1", "one-more", [], PRIVATE)


def test_commands_at_the_same_time_give_no_address_twice(tmp_path: Path) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(
            target=lambda name=name: found.append(addresses.allocate(tmp_path, "e", name, [], PRIVATE).address)
        )
        for name in (f"m{number}" for number in range(20))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 20


def test_on_a_bridge_known_neighbours_leases_and_other_environments_are_avoided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = addresses.network.IPv4Interface("10.9.8.1/29")
    monkeypatch.setattr(network, "interface", lambda _network: own)
    monkeypatch.setattr(addresses, "_seen_on_bridge", lambda _name: ["10.9.8.2", "10.9.8.3"])
    bridge = network.parse("br9")
    got = {addresses.allocate(tmp_path, f"e{number}", "web", [], bridge).address for number in range(3)}
    assert got == {"10.9.8.4", "10.9.8.5", "10.9.8.6"}
    with pytest.raises(EnvupError, match="the network br9 has no free address"):
        addresses.allocate(tmp_path, "e4", "web", [], bridge)


def test_a_peer_that_cannot_be_reached_has_no_name(tmp_path: Path) -> None:
    addresses.allocate(tmp_path, "e", "alone", [], NONE)
    addresses.allocate(tmp_path, "e", "shared", [], HOST)
    names = addresses.allocate(tmp_path, "e", "web", ["alone", "shared", "db"], PRIVATE).names
    assert names == {"web": "10.0.2.15", "db": "10.0.2.16"}
    assert addresses.allocate(tmp_path, "e", "alone", ["web"], NONE).names == {"alone": "127.0.0.1"}


def test_lxc_is_told_the_address_and_a_hardware_address_that_stays(tmp_path: Path) -> None:
    first = config.network(addresses.allocate(tmp_path, "e", "web", [], PRIVATE))
    assert "lxc.net.0.ipv4.address = 10.0.2.15/24" in first
    assert "lxc.net.0.ipv4.gateway = 10.0.2.2" in first
    assert [line for line in first if line.startswith("lxc.net.0.hwaddr = 02:")]
    assert config.network(addresses.allocate(tmp_path, "e", "web", ["db"], PRIVATE)) == first
    other = config.network(addresses.allocate(tmp_path, "e", "db", [], PRIVATE))
    assert not {line for line in first if "hwaddr" in line} & set(other)


def test_lxc_is_told_of_networks_without_an_address(tmp_path: Path) -> None:
    assert config.network(addresses.allocate(tmp_path, "e", "a", [], HOST)) == ["lxc.net.0.type = none"]
    assert config.network(addresses.allocate(tmp_path, "e", "b", [], NONE))[0] == "lxc.net.0.type = empty"


def test_the_resolver_of_the_private_network_asks_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = tmp_path / "resolv.conf"
    host.write_text("nameserver 127.0.0.53\nsearch example.org\noptions edns0\n")
    monkeypatch.setattr(resolver, "_HOST", host)
    assert resolver.text(PRIVATE) == "nameserver 10.0.2.3\nsearch example.org\noptions edns0\n"
    assert resolver.text(HOST) == host.read_text()
    assert resolver.text(NONE) is None


def test_a_resolver_on_the_loopback_is_left_out_on_a_bridge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = tmp_path / "resolv.conf"
    host.write_text("nameserver 127.0.0.53\nnameserver 9.9.9.9\n")
    monkeypatch.setattr(resolver, "_HOST", host)
    monkeypatch.setattr(network, "interface", lambda _network: network.IPv4Interface("10.9.8.1/24"))
    monkeypatch.setattr(resolver, "_answers", lambda _address: False)
    assert resolver.text(network.parse("br9")) == "nameserver 9.9.9.9\n"
    monkeypatch.setattr(resolver, "_answers", lambda _address: True)
    assert resolver.text(network.parse("br9")).splitlines()[0] == "nameserver 10.9.8.1"


def test_the_default_network_is_refused_nothing() -> None:
    assert _reasons(ports=(Port(80, 8080, "127.0.0.1"),), address="10.0.2.20", host_loopback=True) == []


def test_a_bridge_needs_root() -> None:
    (reason,) = _reasons(network="lxcbr0", rootless=True)
    assert "lxcbr0, needs root" in reason


def test_a_missing_bridge_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    (reason,) = _reasons(network="nosuchbridge")
    assert "ip link add nosuchbridge type bridge" in reason
    monkeypatch.setattr(network, "Path", lambda _path: Path("/nowhere"))
    (reason,) = _reasons(network="lxcbr0")
    assert "systemctl start lxc-net, or /usr/libexec/lxc/lxc-net start" in reason


def test_an_interface_that_is_no_bridge_is_refused() -> None:
    assert _reasons(network="lo") == [
        "lxc.network: lo is no bridge; `ip link show type bridge` lists those of the host"
    ]


def test_ports_need_a_network_of_their_own() -> None:
    assert "cannot be reached" in _reasons(network="none", ports=(Port(80, 80),))[0]
    assert "cannot be remapped" in _reasons(network="host", ports=(Port(80, 81),))[0]
    assert _reasons(network="host", ports=(Port(80, 80),)) == []


@pytest.mark.parametrize("address", ["10.0.2.2", "10.0.2.255", "10.0.3.4", "10.0.2", "fd00::1"])
def test_an_address_outside_the_network_is_refused(address: str) -> None:
    (reason,) = _reasons(address=address)
    assert reason.startswith(f"lxc.address: {address} is not ")


def test_an_address_without_a_network_is_refused() -> None:
    (reason,) = _reasons(network="none", address="10.0.2.20")
    assert "no address of its own" in reason
