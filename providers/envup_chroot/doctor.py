"""What the chroot provider needs on this host."""

from __future__ import annotations

from pathlib import Path

from envup.namespaces import needs, subids
from envup.provider import Check


def examine(data: Path, *, rootless: bool) -> list[Check]:
    """Every need, met or not."""
    found = [needs.tool("tar", "tar")]
    if rootless:
        found += [needs.tool("newuidmap", "uidmap"), needs.tool("newgidmap", "uidmap")]
        found.append(needs.subordinate_ids(subids.maps))
    if all(check.ok for check in found):
        found += needs.tried(data, subids.maps() or ("", ""), copies=True)
    return [*found, needs.controllers(rootless=rootless)]
