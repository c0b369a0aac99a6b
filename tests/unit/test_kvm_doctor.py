"""What the KVM provider says of a host whose hypervisor is too old or does not answer."""

from __future__ import annotations

from types import SimpleNamespace

import libvirt
import pytest

from envup.provider import Check
from envup_kvm import connection, doctor


def checks(monkeypatch: pytest.MonkeyPatch, version: int | None) -> dict[str, Check]:
    def told() -> int:
        if version is None:
            raise libvirt.libvirtError("no hypervisor")
        return version

    monkeypatch.setattr(connection, "connect", lambda _uri: SimpleNamespace(getVersion=told, close=lambda: None))
    return {check.name: check for check in doctor._libvirt()}


@pytest.mark.parametrize("version", [7_002_000, 7_002_022, 10_000_000])
def test_a_qemu_that_has_streams_will_do(monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    found = checks(monkeypatch, version)
    assert found["libvirt"].ok
    assert found["qemu"] == Check("qemu", True)


def test_one_that_is_too_old_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    check = checks(monkeypatch, 6_002_000)["qemu"]
    assert not check.ok
    assert check.message == "QEMU is 6.2, and machines need 7.2 for their network"
    assert "Debian 12" in check.remedy


def test_a_libvirt_without_a_hypervisor_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    found = checks(monkeypatch, None)
    assert not found["libvirt"].ok
    assert "does not tell its hypervisor" in found["libvirt"].message
