"""The schema itself, the plugins in it, and the template."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_plugins import install, install_provider, manifest
from jsonschema import Draft202012Validator

from envup.envfile.load import load
from envup.envfile.schema import base, merged, touches
from envup.envfile.template import write_new
from envup.errors import UsageError
from envup.home import Home
from envup.plugins import Host

APPLY = {"live", "restart", "recreate", "provision"}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "data", tmp_path / "cache", tmp_path / "run")


def sections(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        for key, section in schema.get("properties", {}).items():
            yield f"{path}.{key}", section
        for key, value in schema.items():
            yield from sections(value, f"{path}.{key}")
    elif isinstance(schema, list):
        for index, value in enumerate(schema):
            yield from sections(value, f"{path}.{index}")


def test_the_schema_is_one_and_the_package_has_the_same() -> None:
    Draft202012Validator.check_schema(base())
    root = Path(__file__).parents[2] / "envfile.schema.json"
    assert base() == json.loads(root.read_text())


def test_every_key_of_a_machine_says_what_a_change_of_it_means_and_what_it_is() -> None:
    for key, section in base()["$defs"]["machine"]["properties"].items():
        assert section["x-apply"] in APPLY, key
        assert section["description"], key
        assert touches(key) == section["x-apply"]
    assert (touches("resources"), touches("image"), touches("no-such")) == ("live", "recreate", "recreate")


def test_every_key_is_described() -> None:
    definitions = base()["$defs"]
    named = {"file", "single"}
    for path, section in sections(definitions):
        if path.split(".")[1] in named and "$ref" in section:
            continue
        target = definitions.get(section.get("$ref", "").rpartition("/")[2], {})
        assert section.get("description") or target.get("description"), path


def test_one_machine_at_the_top_level_has_the_keys_of_a_machine() -> None:
    definitions = base()["$defs"]
    expected = set(definitions["machine"]["properties"]) | {"version", "name", "defaults"}
    assert set(definitions["single"]["properties"]) == expected


def test_schemas_of_plugins_are_merged_with_their_own_references(
    tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    own = manifest("provider", isolation="container")
    own["properties"]["size"] = {"$ref": "#/$defs/size"}
    own["$defs"] = {"size": {"enum": ["small", "large"]}}
    install(site, "box", schema=own)
    install(site, "cage", schema=manifest("provider", isolation="container"))
    install(site, "recipe", schema={"type": "string", "x-envup": {"api": 1, "kinds": ["provisioner"]}})
    install(site, "seed", schema={"type": "string", "x-envup": {"api": 1, "kinds": ["image_source"]}})
    monkeypatch.syspath_prepend(str(site))
    schema = merged(Host(home))
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    good = {"image": {"seed": "a"}, "provision": [{"recipe": "b"}], "box": {"size": "small"}, "cage": {"level": 2}}
    assert not list(validator.iter_errors(good))
    assert not list(validator.iter_errors({"machines": {"a": good}}))
    for bad in (
        {"box": {"size": "huge"}},
        {"cage": {"shm": 1}},
        {"provision": [{"recipe": 5}]},
        {"image": {"seed": 5}},
    ):
        assert list(validator.iter_errors({**good, **bad})), bad
        assert list(validator.iter_errors({"machines": {"a": {**good, **bad}}})), bad


def test_the_key_of_a_broken_provider_is_known_and_not_looked_into(
    tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", "box", schema="{")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    (tmp_path / "Envfile").write_text("image: host\nbox: {anything: 1}\n")
    assert load(tmp_path / "Envfile", Host(home)).machines[0].options["box"] == {"anything": 1}


def test_what_new_writes_loads(tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    install_provider(tmp_path / "site", "box", "container")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    for directory, given in {"plain": {}, "full": {"image": "ubuntu/noble", "provider": "box", "name": "shop"}}.items():
        (tmp_path / directory).mkdir()
        environment = load(write_new(tmp_path / directory, **given), Host(home), environ={})
        assert environment.name == given.get("name", directory)
        assert environment.machines[0].provider == given.get("provider", "auto")
        assert environment.machines[0].image.options["suite"] == given.get("image", "debian/bookworm").split("/")[1]


def test_everything_that_the_template_shows_in_comments_loads(tmp_path: Path, home: Home) -> None:
    lines = write_new(tmp_path).read_text().partition("# For more than one machine")[0].splitlines()
    keys = ("resources", "environment", "mounts", "ports", "provision", "  ")
    shown = [line[2:] for line in lines if line.startswith("# ") and line[2:].startswith(keys)]
    text = "\n".join(["image: host", *shown])
    (tmp_path / "Envfile").write_text(text)
    machine = load(tmp_path / "Envfile", Host(home), environ={"TOKEN": "a"}).machines[0]
    assert machine.ports
    assert len(machine.steps) == 2


@pytest.mark.parametrize("name", ["Envfile", "Envfile.yaml", "Envfile.yml"])
def test_new_never_overwrites(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("nowhere")
    with pytest.raises(UsageError, match="already"):
        write_new(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_second_load_imports_neither_yaml_nor_jsonschema_nor_pluggy(tmp_path: Path) -> None:
    (tmp_path / "Envfile").write_text("image: host\nprovision: [{shell: 'true'}]\n")
    code = (
        "import sys; from pathlib import Path; from envup.home import Home; from envup.plugins import Host\n"
        "from envup.envfile.load import load\n"
        f"root = Path({str(tmp_path)!r})\n"
        "load(root / 'Envfile', Host(Home(root / 'd', root / 'c', root / 'r')))\n"
        "print(*sorted({'yaml', 'jsonschema', 'pluggy', 'importlib.metadata', 'importlib.util'} & set(sys.modules)))"
    )
    run = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    assert "yaml" in run[0].stdout
    assert run[1].stdout.strip() == ""
