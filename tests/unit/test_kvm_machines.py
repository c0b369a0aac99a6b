"""What the KVM provider makes of the states that libvirt tells."""

from __future__ import annotations

from types import SimpleNamespace

import libvirt
import pytest

from envup_kvm import machines

SEEN = [
    ([libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_BOOTED], "running", ""),
    ([libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER], "suspended", ""),
    ([libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR], "suspended", "its disk cannot be written"),
    ([libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED], "stopped", ""),
]


@pytest.mark.parametrize(("told", "state", "trouble"), SEEN)
def test_a_machine_that_qemu_paused_says_why(told: list[int], state: str, trouble: str) -> None:
    domain = SimpleNamespace(state=lambda: told)
    assert machines.state_of(domain) == state
    assert machines.trouble_of(domain).partition(",")[0] == trouble


@pytest.mark.parametrize("number", range(libvirt.VIR_DOMAIN_PMSUSPENDED + 1))
def test_every_state_of_libvirt_is_one_of_ours(number: int) -> None:
    assert machines.state_of(SimpleNamespace(state=lambda: [number, 0])) in ("running", "suspended", "stopped")
