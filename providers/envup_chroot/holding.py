"""Starting the holder of a machine, seen from the host."""

# os rather than pathlib, which takes longer to load than all of this.
# ruff: noqa: PTH120

from __future__ import annotations

import json
import marshal
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from envup.namespaces import guestfiles, programs, records, subids, syscalls
from envup.namespaces.variables import packed
from envup.provider import MachineSpec
from envup_chroot import settings


def start(
    directory: Path,
    lock: int,
    facts: Mapping[str, Any],
    spec: MachineSpec,
    trees: Sequence[Path],
    groups: Sequence[Path],
    *,
    hidden: Sequence[str],
) -> None:
    """Start the holder; when this returns, the machine can be entered. The lock's descriptor goes to the holder's
    starter, which keeps the machine locked until its fate is known, whatever becomes of this process."""
    maps = subids.maps()
    persona = syscalls.PER_LINUX32 if facts["architecture"] == "i386" else 0
    run = {
        "id": os.urandom(16).hex(),
        "cgroups": [str(group) for group in groups],
        "persona": persona,
        "capabilities": settings.kept_capabilities(spec),
        "user_namespace": maps is not None,
        "ports": [[port.machine_port, port.protocol] for port in spec.ports],
    }
    config = {
        "machine": str(directory),
        "maps": maps,
        "lowers": [str(tree) for tree in trees],
        "hidden": list(hidden),
        "tmpfs": settings.tmpfs(spec) if facts["volatile"] else None,
        "disk": facts["disk"],
        "copied": not (facts["disk"] or facts["volatile"] or (directory / "upper").exists()),
        "mounts": [
            (str(mount.source), mount.target, mount.read_only)
            for mount in sorted(spec.mounts, key=lambda mount: len(Path(mount.target).parts))
        ],
        "files": guestfiles.on_host_network(spec, first=not (directory / records.FILE).exists()),
        "persona": persona,
        "record": json.dumps(run)[1:-1],
    }
    failure = f"machine '{spec.name}' did not start"
    programs.run(
        programs.program("holder", directory=os.path.dirname(__file__)),
        failure,
        data=marshal.dumps(config),
        environment=packed(spec.environment),
        descriptors=(lock,),
    )
