"""What a machine was last started with, as far as it is needed while it runs: kept beside it, without variables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from envup.errors import EnvupError
from envup.model import ImageReference
from envup.namespaces import directories, records
from envup.provider import MachineSpec, Mount, Port, Resources
from envup_kvm.machines import Machine

FILE = "started.json"


def note(machine: Machine, spec: MachineSpec, facts: tuple[int, str]) -> None:
    """Keep it. `facts` is what the machine is told when it boots, see `places.told`. Errors: `OSError`."""
    resources = spec.resources
    fields: dict[str, Any] = {
        "name": spec.name,
        "hostname": spec.hostname,
        "ports": [[port.machine_port, port.host_port, port.address, port.protocol] for port in spec.ports],
        "mounts": [[str(mount.source), mount.target, mount.read_only] for mount in spec.mounts],
        "peers": list(spec.peers),
        "options": {"kvm": dict(spec.options.get("kvm", {}))},
        "resources": [resources.cpus, resources.memory, resources.disk],
        "facts": facts,
    }
    records.replace(str(machine.directory / FILE), json.dumps(fields))


def read(machine: Machine) -> tuple[MachineSpec, tuple[int, str]]:
    """(what of its declaration was noted, its facts). Errors: `EnvupError` where it never was started."""
    fields = directories.read(f"{machine.directory}/{FILE}")
    if fields is None:
        raise EnvupError(f"there is no record of how machine '{machine.labels['envup.machine']}' was started")
    cpus, memory, disk = fields["resources"]
    spec = MachineSpec(
        name=fields["name"],
        image=ImageReference(""),
        provider="kvm",
        hostname=fields["hostname"],
        resources=Resources(cpus=cpus, memory=memory, disk=disk),
        ports=tuple(Port(*port) for port in fields["ports"]),
        mounts=tuple(Mount(Path(source), target, only) for source, target, only in fields["mounts"]),
        peers=tuple(fields["peers"]),
        options=fields["options"],
    )
    size, digest = fields["facts"]
    return spec, (size, digest)
