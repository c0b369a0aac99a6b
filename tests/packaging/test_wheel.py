"""What the wheel holds."""

from __future__ import annotations

import stat
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging_help import ROOT, build, output

pytestmark = pytest.mark.slow

SOURCE_ROOTS = [ROOT / name for name in ("core", "providers", "provisioners")]


def packages() -> Iterator[Path]:
    for root in SOURCE_ROOTS:
        yield from (path for path in root.iterdir() if path.is_dir() and not path.name.startswith((".", "__")))


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_pyproject_lists_every_package() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = config["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert sorted(listed) == sorted(str(path.relative_to(ROOT)) for path in packages())
    assert sorted(config["tool"]["mypy"]["packages"]) == sorted(path.name for path in packages())


def test_every_plugin_of_the_box_is_registered() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    modules = config["project"]["entry-points"]["envup"].values()
    assert {module.partition(".")[0] for module in modules} == {path.name for path in packages()} - {"envup"}


def test_the_wheel_holds_every_file_of_every_package(wheel: Path) -> None:
    files = {
        str(path.relative_to(package.parent))
        for package in packages()
        for path in package.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert files - names(wheel) == set()


def test_the_wheel_holds_nothing_else(wheel: Path) -> None:
    tops = {package.name for package in packages()}
    assert {name.partition("/")[0] for name in names(wheel) if ".dist-info/" not in name} == tops
    assert [name for name in names(wheel) if name.endswith(".pyc") or "__pycache__" in name] == []


def test_the_schema_in_the_wheel_is_a_file_of_its_own(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (entry,) = [entry for entry in archive.infolist() if entry.filename == "envup/envfile.schema.json"]
        assert not stat.S_ISLNK(entry.external_attr >> 16)
        assert archive.read(entry) == (ROOT / "envfile.schema.json").read_bytes()


def test_every_plugin_of_the_box_ships_its_manifest(wheel: Path) -> None:
    plugins = [package.name for package in packages() if package.name != "envup"]
    assert plugins
    assert [name for name in plugins if f"{name}/options.schema.json" not in names(wheel)] == []


def test_the_wheel_ships_licence_and_type_marker(wheel: Path) -> None:
    assert "envup/py.typed" in names(wheel)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names(wheel))


def test_a_wheel_made_from_the_source_distribution_is_the_same(wheel: Path, tmp_path: Path) -> None:
    sdist = build("sdist", ROOT, tmp_path / "sdist")
    output(["tar", "-xf", sdist, "-C", tmp_path])
    again = build("wheel", tmp_path / sdist.name.removesuffix(".tar.gz"), tmp_path / "wheel")
    assert names(again) == names(wheel)
