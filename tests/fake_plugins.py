"""Distributions with plugins, written to a directory as an installer leaves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PROVIDER = """\
import pluggy
from envup.provider import Provider

class Machines(Provider):
    name, isolation, modes = {name!r}, {isolation!r}, frozenset(("root",))
    doctor = observe = create = start = stop = destroy = command = send = fetch = lambda self, *_: ()

@pluggy.HookimplMarker("envup")
def envup_provider():
    return Machines
"""


def manifest(*kinds: str, **told: Any) -> dict[str, Any]:
    """A manifest that accepts one option, `level`."""
    return {
        "type": "object",
        "properties": {"level": {"type": "integer", "minimum": 1}},
        "additionalProperties": False,
        "x-envup": {"api": 1, "kinds": list(kinds), **told},
    }


def install(
    site: Path,
    name: str,
    *,
    code: str = "",
    schema: dict[str, Any] | str | None = None,
    distribution: str = "",
    module: str = "",
    value: str = "",
) -> Path:
    """Write a distribution with one plugin; returns the directory of its package. `schema` None writes no manifest."""
    distribution, module = distribution or f"dist-{name}", module or f"plugin_{name}"
    package = site.joinpath(*module.split("."))
    package.mkdir(parents=True, exist_ok=True)
    for parent in [package, *package.parents]:
        if parent == site:
            break
        (parent / "__init__.py").touch()
    (package / "__init__.py").write_text(code)
    if schema is not None:
        (package / "options.schema.json").write_text(schema if isinstance(schema, str) else json.dumps(schema))
    info = site / f"{distribution.replace('-', '_')}-1.5.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n\nName: not this\n")
    (info / "entry_points.txt").write_text(f"[envup]\n{name} = {value or module}\n")
    return package


def install_provider(site: Path, name: str, isolation: str, **told: Any) -> Path:
    """A provider that loads."""
    code = PROVIDER.format(name=name, isolation=isolation)
    return install(site, name, code=code, schema=manifest("provider", isolation=isolation, **told))
