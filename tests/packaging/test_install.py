"""The wheel in a virtual environment of its own: both commands, and `env` as the system's."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from packaging_help import ROOT, output

pytestmark = pytest.mark.slow


def test_both_commands_tell_the_same_version(installed: Path) -> None:
    assert output([installed / "env", "version"]) == output([installed / "envup", "version"])


def test_the_installed_schema_is_that_of_this_checkout(installed: Path, tmp_path: Path) -> None:
    environment = {"ENVUP_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    schema = json.loads(output([installed / "env", "schema"], env=environment))
    source = json.loads((ROOT / "envfile.schema.json").read_text())
    assert schema["$defs"]["machine"]["properties"].keys() >= source["$defs"]["machine"]["properties"].keys()


def test_the_plugins_of_the_box_are_found_and_sound(installed: Path, tmp_path: Path) -> None:
    environment = {"ENVUP_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    plugins = json.loads(output([installed / "envup", "plugins", "--json"], env=environment))["plugins"]
    assert {"chroot", "shell", "copy"} <= {plugin["name"] for plugin in plugins}
    assert [plugin for plugin in plugins if plugin["problem"]] == []


def test_an_envfile_is_checked_without_the_checkout(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "Envfile").write_text("image: debian/bookworm\nprovision: [{shell: true-ish}]\nmemroy: 1\n")
    environment = {"ENVUP_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}
    command = [str(installed / "env"), "validate"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Envfile:3:1" in done.stderr
    assert "memroy" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["A=1 2", "sh", "-c", 'printf "%s" "$A"'], "1 2"),
        (["-i", "B=x", "/usr/bin/env"], "B=x\n"),
        (["up=1", "sh", "-c", 'printf "%s" "$up"'], "1"),
    ],
)
def test_what_is_not_a_verb_goes_to_the_systems_env(installed: Path, arguments: list[str], expected: str) -> None:
    path = f"{installed}:/usr/bin:/bin"
    assert output(["env", *arguments], env={"PATH": path}) == expected
    assert output([installed / "env", *arguments], env={"PATH": path}) == expected
