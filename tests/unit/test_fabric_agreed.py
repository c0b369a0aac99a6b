"""Modules of a project run from the bytes that were agreed to, and others do not run."""

from __future__ import annotations

import hashlib
import importlib
import py_compile
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from envup_fabric import imports
from envup_fabric.agreed import Agreed, NotAgreed


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory whose modules can be imported, and are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def agree(monkeypatch: pytest.MonkeyPatch, project: Path, *files: Path) -> None:
    digests = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    monkeypatch.setattr(sys, "meta_path", [Agreed(project, digests), *sys.meta_path])
    importlib.invalidate_caches()


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_compiled_code_that_lies_beside_a_module_does_not_run(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = put(project / "agreed_helper.py", "SAYS = 'other'\n")
    py_compile.compile(str(module), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    module.write_text("SAYS = 'agreed'\n")
    agree(monkeypatch, project, module)
    assert importlib.import_module("agreed_helper").SAYS == "agreed"


def test_a_module_that_nobody_looked_at_does_not_run(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(project / "unseen_helper.py", "raise SystemExit('it ran')\n")
    compiled = put(project / "unseen_compiled.py", "raise SystemExit('it ran')\n")
    py_compile.compile(str(compiled), cfile=str(project / "unseen_compiled.pyc"))
    compiled.unlink()
    agree(monkeypatch, project)
    for name in ("unseen_helper", "unseen_compiled"):
        with pytest.raises(NotAgreed, match="import statement"):
            importlib.import_module(name)


def test_a_module_that_changed_meanwhile_does_not_run(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = put(project / "swapped_helper.py", "SAYS = 'agreed'\n")
    agree(monkeypatch, project, module)
    module.write_text("raise SystemExit('it ran')\n")
    with pytest.raises(NotAgreed, match="has changed"):
        importlib.import_module("swapped_helper")


def test_packages_and_installed_modules_are_imported(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [put(project / f"agreed_package/{name}.py", "SAYS = 1\n") for name in ("__init__", "inner")]
    plain = put(project / "agreed_plain/part.py", "SAYS = 2\n")
    agree(monkeypatch, project, *files, plain)
    assert importlib.import_module("agreed_package.inner").SAYS == 1
    assert importlib.import_module("agreed_plain.part").SAYS == 2
    assert importlib.import_module("colorsys")


def test_what_a_fabfile_imports_is_found_with_what_that_imports(tmp_path: Path) -> None:
    fabfile = put(tmp_path / "fabfile.py", "import one, plain.part\nfrom package import x\nimport os, absent\n")
    named = [
        put(tmp_path / name, text)
        for name, text in (
            ("one.py", "import two\n"), ("two.py", "import one\n"), ("plain/part.py", ""),
            ("package/__init__.py", ""), ("package/deep/inner.py", "import three\n"), ("three.py", ""),
        )
    ]  # fmt: skip
    (tmp_path / "package/link.py").symlink_to(tmp_path / "three.py")
    put(tmp_path / "unrelated.py", "")
    assert imports.beside(tmp_path, [fabfile]) == sorted([*named, tmp_path / "package/link.py"])


def test_a_file_that_cannot_be_parsed_imports_nothing(tmp_path: Path) -> None:
    put(tmp_path / "one.py", "")
    for text in ("import one\n(", "import one\n" + "(" * 100_000, "import one\n\0"):
        assert imports.beside(tmp_path, [put(tmp_path / "fabfile.py", text)]) == []
