"""What a step may know of its machine and of the others of the environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envup.model import Environment, MachineSpec
from envup.provider import Instance


def of(environment: Environment, instances: Mapping[str, Instance], machine: str) -> dict[str, Any]:
    """Plain values: `project`, with `name` and `directory`; `machines` by name, and `machine`, the one that the step
    runs on. Each has `name`, `hostname`, `provider`, `user`, its variables as `environment`, and as it is now `state`,
    `addresses`, in which it is reached from the host, and `ports`, each with `host`, `port`, `machine_port` and
    `protocol`. A machine that is not there yet is `absent` and has none."""
    machines = {spec.name: _machine(spec, instances.get(spec.name)) for spec in environment.machines}
    project = {"name": environment.name, "directory": str(environment.directory)}
    return {"project": project, "machine": machines[machine], "machines": machines}


def _machine(spec: MachineSpec, instance: Instance | None) -> dict[str, Any]:
    ports = () if instance is None else instance.ports
    return {
        "name": spec.name,
        "hostname": spec.hostname or spec.name,
        "provider": spec.provider,
        "user": spec.user,
        "environment": dict(spec.environment),
        "state": "absent" if instance is None else instance.state,
        "addresses": [] if instance is None else list(instance.addresses),
        "ports": [
            {
                "host": port.address or "0.0.0.0",
                "port": port.host_port,
                "machine_port": port.machine_port,
                "protocol": port.protocol,
            }
            for port in ports
        ],
    }
