"""What a step may know of its machine and of the others of the environment, and whether what it knew still holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

from envup.model import Environment, MachineSpec
from envup.provider import Instance
from envup.spec import hidden

PARTS = ("project", "machine", "machines")


def of(environment: Environment, instances: Mapping[str, Instance], machine: str) -> dict[str, Any]:
    """Plain values: `project`, with `name` and `directory`; `machines` by name, and `machine`, the one that the step
    runs on. Each has `name`, `hostname`, `provider`, `user`, its variables as `environment`, and as it is now `state`,
    `addresses`, in which it is reached from the host, and `ports`, each with `host`, `port`, `machine_port` and
    `protocol`. A machine that is not there yet is `absent` and has none."""
    machines = {spec.name: _machine(spec, instances.get(spec.name)) for spec in environment.machines}
    return {"project": _project(environment), "machine": machines[machine], "machines": machines}


class Facts(Mapping[str, Any]):
    """What `of` gives, put together when it is first looked at. `used` has the parts that were looked at."""

    def __init__(self, make: Callable[[], Mapping[str, Any]]) -> None:
        self._make = make
        self.used: set[str] = set()

    def __getitem__(self, part: str) -> Any:
        value = self._whole[part]
        self.used.add(part)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(PARTS)

    def __len__(self) -> int:
        return len(PARTS)

    @cached_property
    def _whole(self) -> Mapping[str, Any]:
        return self._make()


def note(facts: Facts, environment: Environment, machine: str, salt: str) -> dict[str, Any]:
    """What `unchanged` needs to tell later, nothing where no fact was looked at."""
    parts = sorted(facts.used)
    return {"facts": {"parts": parts, "digest": _digest(parts, environment, machine, salt)}} if parts else {}


def unchanged(noted: Mapping[str, Any], environment: Environment, machine: str, salt: str) -> bool:
    """Whether the parts that a step looked at are still declared as they were. What only shows when machines run
    (state, addresses, ports that were chosen) does not count, nor who provides them."""
    if not (facts := noted.get("facts")) or environment.machine(machine) is None:
        return True
    return bool(facts["digest"] == _digest(facts["parts"], environment, machine, salt))


def _digest(parts: list[str], environment: Environment, machine: str, salt: str) -> str:
    """Keyed, as the values of variables are secrets."""
    machines = {spec.name: _declared(spec) for spec in environment.machines}
    whole = {"project": _project(environment), "machine": machines[machine], "machines": machines}
    return hidden(json.dumps([whole[part] for part in parts], sort_keys=True), salt)


def _project(environment: Environment) -> dict[str, Any]:
    return {"name": environment.name, "directory": str(environment.directory)}


def _declared(spec: MachineSpec) -> dict[str, Any]:
    ports = [[port.address, port.host_port, port.machine_port, port.protocol] for port in spec.ports]
    return {**_own(spec), "ports": ports}


def _own(spec: MachineSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "hostname": spec.hostname or spec.name,
        "user": spec.user,
        "environment": dict(spec.environment),
    }


def _machine(spec: MachineSpec, instance: Instance | None) -> dict[str, Any]:
    ports = () if instance is None else instance.ports
    return {
        **_own(spec),
        "provider": spec.provider,
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
