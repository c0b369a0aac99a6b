"""The dependencies between the rooms of docs/architecture.md."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRACTS = {"provider", "provisioner", "image", "machine", "events", "errors", "model", "value", "namespaces"}
PLUGINS = {path.name for kind in ("providers", "provisioners") for path in (ROOT / kind).glob("envup_*")}


def imported(file: Path) -> Iterator[str]:
    """The dotted names of the modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (
                (f"{node.module}.{name.name}" for name in node.names) if node.module == "envup" else (node.module,)
            )


@pytest.mark.parametrize("plugin", sorted(PLUGINS))
def test_a_plugin_imports_only_the_contracts_of_the_core(plugin: str) -> None:
    files = [file for kind in ("providers", "provisioners") for file in (ROOT / kind / plugin).rglob("*.py")]
    assert files
    for file in files:
        core = {name for name in imported(file) if name.split(".")[0] == "envup"}
        others = {name for name in imported(file) if name.split(".")[0] in PLUGINS - {plugin}}
        assert {name.split(".")[1] for name in core} <= CONTRACTS, file
        assert not others, file


def test_the_core_imports_no_plugin() -> None:
    files = list((ROOT / "core/envup").rglob("*.py"))
    assert files
    for file in files:
        assert not {name for name in imported(file) if name.split(".")[0] in PLUGINS}, file


def test_the_way_into_namespaces_imports_only_contracts() -> None:
    files = list((ROOT / "core/envup/namespaces").rglob("*.py"))
    assert files
    for file in files:
        core = {name for name in imported(file) if name.split(".")[0] == "envup"}
        assert {name.split(".")[1] for name in core} <= CONTRACTS, file


def test_the_command_line_is_imported_by_nothing_but_itself_and_the_entry_point() -> None:
    for file in (ROOT / "core/envup").rglob("*.py"):
        if "cli" in file.parts or file.name == "shim.py":
            continue
        assert not [
            name
            for name in imported(file)
            if name.startswith(("envup.cli", "envup.report")) and "report" not in file.parts
        ], file
