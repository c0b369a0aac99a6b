"""Limits of a running machine, set by control groups that its programs are in."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from envup.namespaces import cgroups, ending
from envup.provider import Resources


def apply(
    run: Mapping[str, Any], name: str, resources: Resources, *, rootless: bool, spared: Collection[int] = ()
) -> list[str]:
    """Give the machine of the record `run` these limits and lift all others. Groups that are not in `run["cgroups"]`
    are made, and every program of the machine but those in `spared` is moved into them. All of its groups. Errors:
    `EnvupError`."""
    groups = [str(group) for group in cgroups.make(name, resources, rootless=rootless)]
    cgroups.relax({*run["cgroups"], *groups}, resources)
    added = [group for group in groups if group not in run["cgroups"]]
    moved = set(spared)
    while added and (new := ending.members(run) - moved):  # until no process was born outside meanwhile
        cgroups.attach(added, new)
        moved |= new
    return [*run["cgroups"], *added]
