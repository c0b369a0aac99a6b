"""Changing the limits of a running machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envup.namespaces import limits, records
from envup.provider import MachineSpec


def resize(directory: Path, run: Mapping[str, Any], group: str, spec: MachineSpec, *, rootless: bool) -> None:
    """Set the limits of `spec` for every program of the machine that `run` records, and lift those that are no longer
    asked for. Errors: `EnvupError`."""
    groups = limits.change(run, group, spec.resources, rootless=rootless)
    if added := groups[len(run["cgroups"]) :]:
        records.replace(f"{directory}/{records.FILE}", json.dumps({**run, "cgroups": groups}))
        limits.move(run, added)
