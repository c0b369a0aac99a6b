"""Limits of a running machine, set by control groups that its programs are in."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from envup.namespaces import cgroups, ending, records
from envup.provider import Resources


def change(run: Mapping[str, Any], name: str, resources: Resources, *, rootless: bool) -> list[str]:
    """Give the groups of the machine that `run` records these limits, and lift all others. Groups that it lacks are
    made; all that it has now. Errors: `EnvupError`."""
    groups = [str(group) for group in cgroups.make(name, resources, rootless=rootless)]
    cgroups.relax({*run["cgroups"], *groups}, resources)
    return [*run["cgroups"], *(group for group in groups if group not in run["cgroups"])]


def resize(
    directory: Path,
    run: Mapping[str, Any],
    name: str,
    resources: Resources,
    *,
    rootless: bool,
    spared: Collection[int] = (),
) -> None:
    """`change` for every program of the running machine in a locked directory; its record has the groups from then on.
    Errors: `EnvupError`."""
    groups = change(run, name, resources, rootless=rootless)
    if added := groups[len(run["cgroups"]) :]:
        records.replace(f"{directory}/{records.FILE}", json.dumps({**run, "cgroups": groups}))
        move(run, added, spared=spared)


def move(run: Mapping[str, Any], groups: Sequence[str], *, spared: Collection[int] = ()) -> None:
    """Move every program of a running machine but those in `spared` into groups; who enters it from now on must go
    there by himself. Errors: `EnvupError`."""
    moved = set(spared)
    while groups and (new := ending.members(run) - moved):  # until no process was born outside meanwhile
        cgroups.attach(groups, new)
        moved |= new
