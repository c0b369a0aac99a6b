"""What is seen of machines: libvirt's domains, and the directories of their disks.

    machines/<environment>.<machine>/
        machine.json            facts that `create` was given; see `envup.namespaces.directories`
        disk.qcow2 console.log  its disk, and what its console said
        key host_key            a key pair for each side of the way in
        booted                  there once it was started
        run.json                its network since its last start

A domain that somebody undefined is a stopped machine, as each start describes it anew. So is one that is not up yet, or
has lost what keeps its network or shares its mounts: a start gives it that again. A directory that is not whole, or a
domain without one, are remains. Where no machine was ever made libvirt is not asked, which would start its daemon.
"""

# os rather than pathlib, which takes longer.
# ruff: noqa: PTH110

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envup.namespaces import directories
from envup.namespaces.directories import Directories
from envup.provider import Instance, ProviderContext
from envup.value import Value, replace
from envup_kvm import connection, domain_labels, network, shares_life
from envup_kvm.binding import libvirt
from envup_kvm.machines import BEGUN, FACTS, Machine, state_of, trouble_of


def look(directory: str, facts: Mapping[str, Any], run: Mapping[str, Any] | None, _boot: str) -> Instance:
    """A machine as its directory alone tells, with ports and addresses as if it ran; see `directories.Look`."""
    state = "stopped" if os.path.exists(f"{directory}/{BEGUN}") else "created"
    ports, addresses = network.seen(run)
    return Instance(facts["id"], state, facts["labels"], ports=ports, addresses=addresses)


def uri(directory: Path) -> str:
    """Where the machine in a directory is, or would be."""
    return (directories.read(f"{directory}/{directories.MACHINE}") or {}).get("uri") or connection.default()


def is_lost(machine: Machine) -> bool:
    """Whether a machine that runs does so in vain: what keeps its network or shares its mounts was killed, or what
    started it before it was up."""
    if (machine.place / FACTS).exists():
        return True
    return network.is_lost(machine.recorded()) or shares_life.is_lost(machine.place)


def observe(
    connections: connection.Connections, machines: Directories, environment: str | None, context: ProviderContext
) -> list[Instance]:
    """Every machine of one environment, or of all. Errors: `EnvupError`."""
    found: dict[str, _Found] = {}
    if not os.path.exists(machines.root):
        return []
    for where in {uri(directory) for directory in machines.all(environment)} or {connection.default()}:
        with connection.telling(f"libvirt at {where} does not list its domains"):
            seen = filter(None, (_seen(domain, machines) for domain in connections.at(where).listAllDomains()))
            found |= {domain_labels.name(one.labels): one for one in seen}
    kept = [
        _as_found(instance, found.pop(domain_labels.name(instance.labels), None), machines, context)
        for instance in machines.observe(environment)
    ]
    lost = [
        Instance("", "broken", one.labels, reason=f"{machines.directory(one.labels)}, where its disk was, is gone")
        for one in found.values()
        if environment in (None, one.labels["envup.environment"]) and not machines.directory(one.labels).exists()
    ]
    return [*kept, *lost]


class _Found(Value):
    """What a domain of ours tells."""

    labels: Mapping[str, str]
    state: str
    trouble: str


def _seen(domain: Any, machines: Directories) -> _Found | None:
    """None of a domain that is not ours, or has just gone."""
    if not domain.name().startswith("envup-"):
        return None
    try:
        known, state = domain_labels.find(domain.XMLDesc()), state_of(domain)
        trouble = trouble_of(domain) if state == "suspended" else ""
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise
    if known is None or known[1] != str(machines.directory(known[0])):
        return None
    return _Found(known[0], state, trouble)


def _as_found(instance: Instance, found: _Found | None, machines: Directories, context: ProviderContext) -> Instance:
    """As its directory says, unless it is up."""
    if found is None or instance.state == "broken" or found.state == "stopped":
        return replace(instance, ports=(), addresses=())
    if is_lost(Machine.of(instance.labels, machines.directory(instance.labels), context)):
        return replace(instance, state="stopped", ports=(), addresses=())
    return replace(instance, state=found.state, reason=found.trouble)
