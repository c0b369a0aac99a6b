"""The dependencies between the rooms of docs/architecture.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = {"provider", "provisioner", "image", "machine", "events", "errors", "model", "value", "children"}
NEEDED |= {"namespaces", "networks"}
CONTRACTS = NEEDED | {"hookspecs", "testing"}
SHARED = ("namespaces", "networks")
"""Packages of the core of which plugins may import what their docstrings name."""
PLUGINS = {path.name for kind in ("providers", "provisioners") for path in (ROOT / kind).glob("envup_*")}


def imported(file: Path) -> Iterator[str]:
    """The dotted names of the modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (
                (f"{node.module}.{name.name}" for name in node.names)
                if node.module in ("envup", *(f"envup.{package}" for package in SHARED))
                else (node.module,)
            )


def named(text: str, pattern: str) -> set[str]:
    """What the first group of a pattern matches in a text."""
    return set(re.findall(pattern, text))


def public(package: str) -> set[str]:
    """The modules of a package of the core that its docstring gives to providers."""
    init = ROOT / "core/envup" / package / "__init__.py"
    said = ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))) or ""
    listed = "".join(re.findall(r"^- .+(?:\n  .+)*", said, re.MULTILINE))
    return named(listed, r"`(\w+)`")


@pytest.mark.parametrize("plugin", sorted(PLUGINS))
def test_a_plugin_imports_only_the_contracts_of_the_core(plugin: str) -> None:
    files = [file for kind in ("providers", "provisioners") for file in (ROOT / kind / plugin).rglob("*.py")]
    assert files
    for file in files:
        core = {name for name in imported(file) if name.split(".")[0] == "envup"}
        others = {name for name in imported(file) if name.split(".")[0] in PLUGINS - {plugin}}
        assert {name.split(".")[1] for name in core} <= CONTRACTS, file
        assert not others, file


@pytest.mark.parametrize("package", SHARED)
def test_plugins_import_no_more_of_a_package_than_is_given_to_them(package: str) -> None:
    examples = ROOT / "examples/providers"
    files = [*(ROOT / "providers").rglob("*.py"), *(ROOT / "provisioners").rglob("*.py"), *examples.rglob("*.py")]
    modules = {path.stem for path in (ROOT / "core/envup" / package).glob("*.py")}
    used = {name.split(".")[2] for file in files for name in imported(file) if name.startswith(f"envup.{package}.")}
    assert used & modules <= public(package) <= modules
    assert not {"enter", "joining", "relay", "datagrams", "slirp"} & public(package)


def test_documents_and_contract_say_what_a_plugin_may_import() -> None:
    guide = (ROOT / "docs/plugins.md").read_text(encoding="utf-8")
    table = guide.partition("Of envup, a plugin imports")[2].partition("\n\nTwo plugins")[0]
    assert named(table, r"`envup\.(\w+)`") == CONTRACTS
    for package in SHARED:
        table = guide.partition(f"### What `envup.{package}` has")[2].partition("\n### ")[0]
        rows = "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
        assert named(rows, r"`(\w+)`") == public(package)
    architecture = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    sentence = architecture.partition("Plugins import")[2].partition("nothing else")[0]
    assert named(sentence, r"`envup\.(\w+)`") == CONTRACTS
    contract = (ROOT / "core/envup/provider.py").read_text(encoding="utf-8")
    sentence = contract.partition("Plugins import")[2].partition("nothing else")[0]
    assert named(sentence, r"`envup\.(\w+)`") == CONTRACTS


def test_the_core_imports_no_plugin() -> None:
    files = list((ROOT / "core/envup").rglob("*.py"))
    assert files
    for file in files:
        assert not {name for name in imported(file) if name.split(".")[0] in PLUGINS}, file


@pytest.mark.parametrize("package", SHARED)
def test_what_providers_share_imports_only_contracts(package: str) -> None:
    files = list((ROOT / "core/envup" / package).rglob("*.py"))
    assert files
    for file in files:
        core = {name for name in imported(file) if name.split(".")[0] == "envup"}
        assert {name.split(".")[1] for name in core} <= NEEDED, file


def test_the_command_line_is_imported_by_nothing_but_itself_and_the_entry_point() -> None:
    for file in (ROOT / "core/envup").rglob("*.py"):
        if "cli" in file.parts or file.name == "shim.py":
            continue
        assert not [
            name
            for name in imported(file)
            if name.startswith(("envup.cli", "envup.report")) and "report" not in file.parts
        ], file
