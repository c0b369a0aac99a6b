"""A machine's declaration as the engine takes it: the body of `POST /containers/create`, its limits apart.

Fields are those of https://docs.docker.com/reference/api/engine/, "Create a container".
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from envup.provider import MachineSpec
from envup_docker.inits import SCRIPT, SHARED

NAME = "docker"
NETWORK = "envup-{environment}"
OWN_NETWORK_MODES = ("bridge", "host", "none")
_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_UNITS |= {f"{unit}i": 1024**power for power, unit in enumerate("kmgt", start=1)}
_PLAIN = {
    "cap_add": "CapAdd",
    "cap_drop": "CapDrop",
    "privileged": "Privileged",
    "device_cgroup_rules": "DeviceCgroupRules",
    "runtime": "Runtime",
    "dns": "Dns",
    "dns_search": "DnsSearch",
    "extra_hosts": "ExtraHosts",
    "security_opt": "SecurityOpt",
    "group_add": "GroupAdd",
    "read_only": "ReadonlyRootfs",
    "ipc": "IpcMode",
    "pid": "PidMode",
    "userns_mode": "UsernsMode",
    "init": "Init",
    "tmpfs": "Tmpfs",
}
"""Options that go into HostConfig as they are."""


def options(spec: MachineSpec) -> Mapping[str, Any]:
    """The machine's `docker:` key."""
    return spec.options.get(NAME, {})


def brings_own_program(spec: MachineSpec) -> bool:
    """Whether the machine's first program is another than envup's init, which stays."""
    return bool(options(spec).get("command", "init") != "init")


def network(spec: MachineSpec, environment: str) -> str:
    """The network that the machine starts on. A machine without peers has nobody to find by name and needs none of its
    environment's own."""
    given: str | None = options(spec).get("network")
    return given or (NETWORK.format(environment=environment) if spec.peers else "bridge")


def container(spec: MachineSpec, environment: str) -> dict[str, Any]:
    """All that is fixed when a container is made, image, labels and limits apart."""
    given = options(spec)
    joined = network(spec, environment)
    body: dict[str, Any] = {
        "Hostname": spec.hostname or spec.name,
        "Env": [f"{name}={value}" for name, value in sorted(spec.environment.items())],
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": _host(spec, given, joined),
        "ExposedPorts": {f"{port.machine_port}/{port.protocol}": {} for port in spec.ports},
        **_command(given.get("command", "init"), SHARED if "pid" in given else SCRIPT),
    }
    if joined not in OWN_NETWORK_MODES:
        body["NetworkingConfig"] = {"EndpointsConfig": {joined: {"Aliases": aliases(spec)}}}
    return body


def aliases(spec: MachineSpec) -> list[str]:
    """The names of a machine in its network."""
    return list(dict.fromkeys((spec.name, spec.hostname or spec.name, *options(spec).get("network_aliases", ()))))


def digest(body: Mapping[str, Any]) -> str:
    """Tells two bodies apart."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def amount(text: str | int) -> int:
    """Bytes of a size with a unit. Errors: `ValueError`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmgt]?i?)b?", str(text).strip().lower())
    if match is None or match[2] not in _UNITS:
        raise ValueError(f"'{text}' is not a size")
    return int(float(match[1]) * _UNITS[match[2]])


def _command(wanted: str | list[str], init: str) -> dict[str, Any]:
    if wanted == "image":
        return {}
    if wanted == "init":
        entry = ["/bin/sh", "-c", init, "init"]
        first = {"Entrypoint": entry, "Cmd": [], "User": "0:0", "WorkingDir": "/", "StopSignal": "SIGTERM"}
        return {**first, "Tty": True}  # Without it there is no /dev/console.
    return {"Entrypoint": list(wanted), "Cmd": []}


def _host(spec: MachineSpec, given: Mapping[str, Any], joined: str) -> dict[str, Any]:
    host: dict[str, Any] = {field: given[name] for name, field in _PLAIN.items() if name in given}
    host["NetworkMode"] = joined
    host["Mounts"] = [*_binds(spec), *_volumes(given)]
    host["PortBindings"] = _bindings(spec)
    if "shm_size" in given:
        host["ShmSize"] = amount(given["shm_size"])
    if "sysctls" in given:
        host["Sysctls"] = {name: text(value) for name, value in given["sysctls"].items()}
    if "devices" in given:
        host["Devices"] = [_device(text) for text in given["devices"]]
    if "gpus" in given:
        host["DeviceRequests"] = [_gpus(given["gpus"])]
    if "ulimits" in given:
        host["Ulimits"] = [_ulimit(name, value) for name, value in given["ulimits"].items()]
    if "logging" in given:
        config = {name: text(value) for name, value in given["logging"].get("options", {}).items()}
        host["LogConfig"] = {"Type": given["logging"]["driver"], "Config": config}
    if spec.resources.disk is not None:
        host["StorageOpt"] = {"size": str(spec.resources.disk)}
    return host


def _binds(spec: MachineSpec) -> list[dict[str, Any]]:
    return [
        {"Type": "bind", "Source": str(mount.source), "Target": mount.target, "ReadOnly": mount.read_only}
        for mount in spec.mounts
    ]


def _volumes(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "Type": "volume",
            "Source": name,
            "Target": target.removesuffix(":ro"),
            "ReadOnly": target.endswith(":ro"),
        }
        for name, target in given.get("volumes", {}).items()
    ]


def _bindings(spec: MachineSpec) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for port in spec.ports:
        where = {"HostIp": port.address or "", "HostPort": str(port.host_port or "")}
        found.setdefault(f"{port.machine_port}/{port.protocol}", []).append(where)
    return found


def _device(text: str) -> dict[str, str]:
    host, _, rest = text.partition(":")
    inside, _, permissions = rest.partition(":")
    return {"PathOnHost": host, "PathInContainer": inside or host, "CgroupPermissions": permissions or "rwm"}


def _gpus(wanted: str | int | list[str]) -> dict[str, Any]:
    request: dict[str, Any] = {"Driver": "", "Capabilities": [["gpu"]], "Options": {}}
    if isinstance(wanted, list):
        return request | {"DeviceIDs": wanted}
    return request | {"Count": -1 if wanted == "all" else wanted}


def _ulimit(name: str, value: int | Mapping[str, int]) -> dict[str, Any]:
    soft, hard = (value, value) if isinstance(value, int) else (value["soft"], value["hard"])
    return {"Name": name, "Soft": soft, "Hard": hard}


def text(value: object) -> str:
    """A value as an engine reads it, which knows texts only."""
    return str(value).lower() if isinstance(value, bool) else str(value)
