"""Changing the limits of a running machine."""

from __future__ import annotations

import json
from pathlib import Path

from envup.errors import EnvupError
from envup.namespaces import directories, limits, records
from envup.provider import MachineSpec


def resize(directory: Path, name: str, spec: MachineSpec, *, rootless: bool) -> None:
    """Set the limits of `spec` for every program of the machine, and lift those that are no longer asked for. PID 1 is
    in no group, see `holder`. Errors: `EnvupError`."""
    run = directories.running(directory)
    if run is None:
        raise EnvupError(f"machine '{spec.name}' is not running", hint="run: env up")
    groups = limits.change(run, name, spec.resources, rootless=rootless)
    if added := groups[len(run["cgroups"]) :]:
        records.replace(f"{directory}/{records.FILE}", json.dumps({**run, "cgroups": groups}))
        limits.move(run, added, spared={run["pid"]})
