"""What the LXC provider says of a host that lacks something, and how it deals with AppArmor."""

from __future__ import annotations

from pathlib import Path

import pytest

from envup.model import ImageReference
from envup.namespaces import needs, subids
from envup.networks import network
from envup.provider import Check, MachineSpec
from envup_lxc import config, doctor, groups

IDS = ("0:100000:65536", "0:100000:65536")


@pytest.fixture(autouse=True)
def try_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is tried on this host, which need not have what a case is not about."""
    monkeypatch.setattr(needs, "tried", lambda *_arguments, **_named: ())


def examined(*, rootless: bool = False) -> dict[str, Check]:
    return {check.name: check for check in doctor.examine(Path("/nowhere"), rootless=rootless)}


def with_apparmor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, state: str = "Y\n") -> None:
    file = tmp_path / "enabled"
    file.write_text(state)
    monkeypatch.setattr(config, "_APPARMOR", file)


@pytest.mark.parametrize(("tool", "package"), [("tar", "tar"), ("lxc-start", "lxc"), ("newuidmap", "uidmap")])
def test_a_missing_program_is_told_with_its_package(monkeypatch: pytest.MonkeyPatch, tool: str, package: str) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    check = examined(rootless=True)[tool]
    assert (check.ok, check.remedy) == (False, f"apt-get install {package}")


def test_missing_subordinate_ids_are_told_with_the_command_that_adds_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(subids, "FILES", (str(tmp_path / "none"), str(tmp_path / "none")))
    for rootless in (False, True):
        monkeypatch.setattr("os.geteuid", lambda rootless=rootless: 1000 if rootless else 0)
        check = examined(rootless=rootless)["subordinate ids"]
        assert not check.ok
        assert "usermod --add-subuids 100000-165535 --add-subgids 100000-165535" in check.remedy


def spec(**options: str) -> MachineSpec:
    return MachineSpec(name="web", image=ImageReference("tarball"), provider="lxc", options={"lxc": options})


def test_without_slirp4netns_machines_on_the_private_network_alone_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    check = examined()["slirp4netns"]
    assert (check.ok, check.remedy) == (True, "apt-get install slirp4netns")
    assert check.message == "no private network: the program slirp4netns is missing"
    assert any("slirp4netns is missing" in reason for reason in network.reasons(spec(), "lxc", rootless=False))
    for other in ("host", "none"):
        assert not list(network.reasons(spec(network=other), "lxc", rootless=False))


def test_a_bridge_of_the_host_is_refused_to_an_ordinary_user() -> None:
    (reason,) = network.reasons(spec(network="lxcbr0"), "lxc", rootless=True)
    assert "needs root" in reason


def test_a_device_of_slirp4netns_that_is_missing_or_closed_is_told_and_no_obstacle(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tun = tmp_path / "tun"
    monkeypatch.setattr(network, "_TUN", str(tun))
    assert examined()["tun"].ok
    assert "modprobe tun" in examined()["tun"].remedy
    tun.touch()
    monkeypatch.setattr("os.access", lambda *_arguments: False)
    assert examined()["tun"].remedy == f"run as root: chmod 0666 {tun}"
    (reason,) = (one for one in network.reasons(spec(), "lxc", rootless=True) if "chmod" in one)
    assert reason.startswith("lxc.network:")


def test_a_bridge_that_is_missing_is_told_and_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "bridge_reasons", lambda _name: iter(["the host has no bridge lxcbr0; run: x"]))
    check = examined()["bridge"]
    assert check == Check("bridge", True, "the host has no bridge lxcbr0", "run: x")
    assert "bridge" not in examined(rootless=True)


def test_a_bridge_is_asked_for_by_a_command_that_makes_it() -> None:
    assert list(network.bridge_reasons("nobridge0")) == [
        "the host has no bridge nobridge0; run: ip link add nobridge0 type bridge"
    ]
    assert list(network.bridge_reasons("lo")) == ["lo is no bridge; `ip link show type bridge` lists those of the host"]


def test_missing_controllers_and_freezers_are_told_and_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "can_freeze", lambda **_named: False)
    checks = examined(rootless=True)
    assert checks["freezer"].ok
    assert "cannot be suspended" in checks["freezer"].message
    assert "Delegate=yes" in checks["freezer"].remedy
    assert "mount" in examined()["freezer"].remedy


def test_machines_are_confined_where_apparmor_is_in_force(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def profile(*, rootless: bool) -> list[str]:
        text = config.text(spec(), IDS, ["lxc.net.0.type = empty"], "g", rootless=rootless)
        return [line for line in text.splitlines() if line.startswith("lxc.apparmor.profile")]

    with_apparmor(monkeypatch, tmp_path, "N\n")
    assert profile(rootless=False) == []
    with_apparmor(monkeypatch, tmp_path)
    assert profile(rootless=False) == ["lxc.apparmor.profile = generated"]
    assert profile(rootless=True) == ["lxc.apparmor.profile = unconfined"]


def test_the_program_that_loads_profiles_is_needed_where_apparmor_is_in_force(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert "apparmor_parser" not in examined()
    with_apparmor(monkeypatch, tmp_path)
    assert examined()["apparmor_parser"].remedy == "apt-get install apparmor"
    assert "apparmor_parser" not in examined(rootless=True)
