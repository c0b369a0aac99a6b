"""The process that keeps the network of one environment's virtual machines, each plugged in by a stream of frames."""

from __future__ import annotations

from envup.networks import keeper
from envup_kvm import nic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main(arguments: list[str]) -> NoReturn:
    """See `keeper.main`."""
    keeper.main(arguments, {"attach": nic.attach, "attached": nic.attached})
