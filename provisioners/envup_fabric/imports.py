"""Which files beside a fabfile it imports, found without running anything."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path


def beside(directory: Path, files: Sequence[Path]) -> list[Path]:
    """Modules in a directory that these files import, directly or by another of them, those of packages all. What is
    imported in other ways than by a statement is not seen; of a file that cannot be read or parsed, nothing is."""
    found: set[Path] = set()
    waiting = [*files]
    while waiting:
        for name in _imported(waiting.pop()):
            new = {*_named(directory, name)} - found - {*files}
            found |= new
            waiting += new
    return sorted(found)


def modules(package: Path) -> list[Path]:
    """The modules of a package, and of those in it."""
    return sorted(package.rglob("*.py"))


def _named(directory: Path, name: str) -> list[Path]:
    """A package comes before a module, as in Python, and one without `__init__.py` after it."""
    package, module = directory / name, directory / f"{name}.py"
    if (package / "__init__.py").is_file() or not module.is_file():
        return modules(package) if package.is_dir() else []
    return [module]


def _imported(file: Path) -> Iterator[str]:
    """The first parts of the names."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, MemoryError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0]
