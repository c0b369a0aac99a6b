"""What is seen of a chroot machine in its directory.

Beside what `envup.namespaces.directories` keeps there:

    upper/ work/    the copy-on-write layers; or disk.img, an ext4 image with them; or nothing on a tmpfs
    root/ disk/     mount points, used in the holder's namespace only; without layers `root` is a copy of the image
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envup.namespaces import records
from envup.provider import Instance, Port

FACTS = frozenset(("architecture", "volatile", "disk"))


def look(_directory: str, facts: Mapping[str, Any], run: Mapping[str, Any] | None, boot: str) -> Instance:
    """The machine as it is; see `directories.Look`."""
    identity, volatile = facts["id"], facts["volatile"]
    if run is None:
        return Instance(identity, "created", facts["labels"], volatile=volatile)
    if volatile:
        identity = run["id"]
    if not run["ready"] or not records.is_alive(run, boot):
        return Instance(identity, "stopped", facts["labels"], volatile=volatile)
    ports = tuple(Port(number, number, None, protocol) for number, protocol in run["ports"])
    return Instance(identity, "running", facts["labels"], ports=ports, volatile=volatile)
