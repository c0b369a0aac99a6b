"""A project whose machines only pretend, and the installed command to work on it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cli_shop import Shop
from fake_plugins import install, manifest

SCHEMA = Path(__file__).parents[2] / "core/envup/report/output.schema.json"
ENVFILE = """\
name: shop
defaults: {image: host, provider: pretend, mounts: []}
machines:
  db: {}
  web:
    depends_on: [db]
    provision:
      - {name: app, shell: echo hello}
"""


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    site = tmp_path / "site"
    site.mkdir()
    code = (Path(__file__).parent / "pretend.py").read_text()
    install(site, "pretend", code=code, schema=manifest("provider", isolation="container"))
    directory = tmp_path / "shop"
    directory.mkdir()
    kept = {name: value for name, value in os.environ.items() if name not in ("ENVUP_FILE", "NO_COLOR")}
    own = {"ENVUP_HOME": str(tmp_path / "home"), "PYTHONPATH": str(site), "DOCKER_HOST": f"unix://{tmp_path}/no-engine"}
    shop = Shop(directory, kept | own)
    shop.write(ENVFILE)
    return shop


@pytest.fixture
def fits() -> Callable[[str, Any], None]:
    """Checks a document against the part of the shipped schema of that name."""
    schema = json.loads(SCHEMA.read_text())

    def check(name: str, document: Any) -> None:
        jsonschema.validate(document, {**schema, "$ref": f"#/$defs/{name}"})

    return check
