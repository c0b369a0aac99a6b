"""What holds for every plugin among the examples."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path


def check_short_and_on_contracts_alone(files: Sequence[Path], contracts: Collection[str]) -> None:
    """The modules have fewer than 200 lines in all, and of envup they import these packages and modules only."""
    assert sum(len(file.read_text().splitlines()) for file in files) < 200
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [name.name for name in node.names] if isinstance(node, ast.Import) else []
            parts = [name.split(".") for name in names if name.split(".")[0] == "envup"]
            assert all(len(part) > 1 and part[1] in contracts for part in parts), (file, names)


def install(example: Path, place: Path) -> None:
    """Install the distribution into a directory, from nothing but its sources."""
    options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "--no-index")
    subprocess.run([sys.executable, "-m", "pip", "install", *options, "--target", place, example], check=True)
