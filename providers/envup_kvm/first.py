"""The first of envup's programs in a machine: starts the server of the way in, and loads the rest meanwhile."""

from __future__ import annotations

from envup_kvm import server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main(_arguments: list[str]) -> NoReturn:
    """Never returns: the process becomes the machine's init."""
    way_in = server.WayIn()
    from envup_kvm import boot

    boot.main(way_in)
