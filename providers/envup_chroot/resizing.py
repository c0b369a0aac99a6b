"""Changing the limits of a running machine."""

from __future__ import annotations

import json
from pathlib import Path

from envup.errors import EnvupError
from envup.namespaces import cgroups, directories, ending, records
from envup.provider import MachineSpec


def resize(directory: Path, name: str, spec: MachineSpec, *, rootless: bool) -> None:
    """Set the limits of `spec`, make groups that are missing and move every program of the machine into them, and lift
    limits that are no longer asked for. Errors: `EnvupError`."""
    run = directories.running(directory)
    if run is None:
        raise EnvupError(f"machine '{spec.name}' is not running", hint="run: env up")
    groups = [str(group) for group in cgroups.make(name, spec.resources, rootless=rootless)]
    cgroups.relax({*run["cgroups"], *groups}, spec.resources)
    if added := [group for group in groups if group not in run["cgroups"]]:
        run["cgroups"] += added
        records.replace(f"{directory}/{records.FILE}", json.dumps(run))
        moved = {run["pid"]}  # PID 1 stays outside, see `holder`
        while new := ending.members(run) - moved:  # until no process was born outside meanwhile
            cgroups.attach(added, new)
            moved |= new
