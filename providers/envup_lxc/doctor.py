"""What the LXC provider needs on this host."""

from __future__ import annotations

from pathlib import Path

from envup.namespaces import needs, subids
from envup.provider import Check
from envup_lxc import groups, network


def examine(data: Path, *, rootless: bool) -> list[Check]:
    """Every need, met or not. A bridge of the host is needed by machines that ask for it alone."""
    found = [needs.tool("tar", "tar"), needs.tool("lxc-start", "lxc"), *network.needs()]
    if rootless:
        found += [needs.tool("newuidmap", "uidmap"), needs.tool("newgidmap", "uidmap")]
    found.append(needs.subordinate_ids(subids.maps if rootless else subids.shifted))
    if all(check.ok for check in found):
        maps, nothing = subids.maps(), ("", "")
        found += needs.tried(data, maps or nothing, nothing if maps else subids.shifted(), copies=True)
    return [*found, needs.controllers(rootless=rootless), _freezer(rootless=rootless)]


def _freezer(*, rootless: bool) -> Check:
    """Told and no obstacle: machines do without."""
    if groups.can_freeze(rootless=rootless):
        return Check("freezer", True)
    why = "no control group is delegated to this user" if rootless else "the host has no freezer"
    return Check("freezer", True, f"machines cannot be suspended: {why}")
