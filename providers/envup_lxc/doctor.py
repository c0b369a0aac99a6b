"""What the LXC provider needs on this host."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from envup.namespaces import cgroups, needs, subids
from envup.networks import network
from envup.provider import Check
from envup.value import replace
from envup_lxc import config, groups


def examine(data: Path, *, rootless: bool) -> list[Check]:
    """Every need, met or not."""
    found = [needs.tool("tar", "tar"), needs.tool("lxc-start", "lxc")]
    if not rootless and config.has_apparmor():
        found.append(needs.tool("apparmor_parser", "apparmor"))
    if rootless:
        found += [needs.tool("newuidmap", "uidmap"), needs.tool("newgidmap", "uidmap")]
    found.append(needs.subordinate_ids(subids.maps if rootless else subids.shifted))
    if all(check.ok for check in found):
        maps, nothing = subids.maps(), ("", "")
        found += needs.tried(data, maps or nothing, nothing if maps else subids.shifted(), copies=True)
    return [*found, needs.controllers(rootless=rootless), _freezer(rootless=rootless), *_networks(rootless=rootless)]


def _networks(*, rootless: bool) -> Iterator[Check]:
    """Needed by machines on that network alone, so told and no obstacle; `checks` refuses those that ask for it."""
    for need in network.needs():
        yield need if need.ok else replace(need, ok=True, message=f"no private network: {need.message}")
    if not rootless:
        why, _, remedy = next(network.bridge_reasons("lxcbr0"), "").partition("; ")
        yield Check("bridge", True, why, remedy)


def _freezer(*, rootless: bool) -> Check:
    """Told and no obstacle: machines do without."""
    if groups.can_freeze(rootless=rootless):
        return Check("freezer", True)
    why = "no control group is delegated to this user" if rootless else "the host has no freezer"
    remedy = cgroups.DELEGATE if rootless else "mount cgroup version 2, or the freezer of version 1"
    return Check("freezer", True, f"machines cannot be suspended: {why}", remedy)
