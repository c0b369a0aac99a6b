"""The process that runs the LXC machines of one environment: their parent, and the keeper of their network.

All that it made ends with it, however it ends: its children are killed, and its namespaces go with the last process in
them.
"""

from __future__ import annotations

from envup.networks import keeper
from envup_lxc import children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main(arguments: list[str]) -> NoReturn:
    """See `keeper.main`."""
    keeper.main(arguments, {"launch": children.launch})
